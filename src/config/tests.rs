use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::mimi::disclosure::Security;
use crate::{provider::authority::Authority, store::Place};

const PROVIDER: &str = "[provider]\ndomain = \"a.example\"\ncertificate_file = \"a.crt\"\nkey_file = \"a.key\"\n";

fn parse(text: &str) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    fs::write(&file, text).unwrap();
    Config::parse(&file)
}

fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_problem_is_told_at_once_with_line_and_path_and_hint() {
    let text = r#"[provider]
domain = "a example"
listen = "8443"
publik_port = 443
certificate_file = "a.crt"

[peers]
"b.example" = "gateway.b.example"

[consent]
allow = ["b.example", 7, "*"]

[disclosure]
security = "plain text"
policy = "http://a.example/"

[adapters.work]
kind = "matrx"

[adapters.office]
kind = "loopback"
socket = "office.sock"

[[portals]]
room = "mimi://a.example/u/alice"
adapter = "offise"
conversation = ""

[portal]
"#;
    let expected = [
        r#"line 1: provider.key_file: is missing"#,
        r#"line 2: provider.domain: "a example" is not a domain name (lower-case letters, digits, hyphens and dots)"#,
        r#"line 3: provider.listen: "8443" is not an IP address with a port (did you mean "0.0.0.0:8443"?)"#,
        r#"line 4: provider.publik_port: is not a key that mimi-gateway knows (did you mean "public_port"?)"#,
        r#"line 8: peers."b.example": "gateway.b.example" is not a host with a port (it looks like "127.0.0.1:8443" or "gateway.b.example:8443")"#,
        r#"line 11: consent.allow[1]: is a number, but should be a string"#,
        r#"line 11: consent.allow[2]: "*" is not a pattern: name a provider ("b.example"), the providers below a domain ("*.gov.example") or a person ("mimi://c.example/u/cathy")"#,
        r#"line 14: disclosure.security: "plain text" is none of unknown, plaintext, transport, reencrypted (did you mean "plaintext"?)"#,
        r#"line 15: disclosure.policy: "http://a.example/" is not an https address"#,
        r#"line 18: adapters.work.kind: there is no adapter of kind "matrx" (did you mean "matrix"?); there are: loopback, matrix, xmpp, email"#,
        r#"line 25: portals[0].room: "mimi://a.example/u/alice" is not a room URI: it should look like mimi://a.example/r/clubhouse"#,
        r#"line 26: portals[0].adapter: no adapter is called "offise" (did you mean "office"?); there are: office"#,
        r#"line 27: portals[0].conversation: is empty"#,
        r#"line 29: portal: is not a key that mimi-gateway knows (did you mean "portals"?)"#,
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn the_admin_reads_the_file_and_the_number_of_problems_first() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    fs::write(&file, "[provider]\ndomain = \"a.example\"\ncertificate_file = \"a.crt\"\n").unwrap();
    let told = Config::parse(&file).unwrap_err().to_string();
    assert_eq!(told, format!("{} has 1 problem:\n  line 1: provider.key_file: is missing", file.display()));
}

#[test]
fn a_missing_section_or_file_is_a_problem_too() {
    let expected =
        ["provider.domain: is missing", "provider.certificate_file: is missing", "provider.key_file: is missing"];
    assert_eq!(problems(""), expected);
    let told = Config::parse(Path::new("/nowhere/gateway.toml")).unwrap_err().to_string();
    assert!(told.contains("can't be read") && told.contains("--config"), "{told}");
}

#[test]
fn what_is_not_toml_is_told_with_its_lines() {
    let told = problems("[provider]\ndomain = \n\n[store]\npath = \"x\"\npath = \"y\"\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("line 2: ") && told[1].starts_with("line 6: duplicate key"), "{told:?}");
}

#[test]
fn sections_of_the_wrong_shape_are_problems() {
    let text =
        format!("portals = 3\npeers = [1]\nadapters = {{ work = 1, \"a b\" = {{ kind = \"loopback\" }} }}\n{PROVIDER}");
    let expected = [
        "line 1: portals: should be written as [[portals]], once for each",
        "line 2: peers: is an array, but should be a table",
        "line 3: adapters.\"a b\": is not a name for an adapter: use letters, digits, - and _",
        "line 3: adapters.work: is a number, but should be a table",
    ];
    assert_eq!(problems(&text), expected);
}

#[test]
fn a_conversation_has_one_room_and_only_the_hub_invites() {
    let portal = |room: &str| format!("[[portals]]\nroom = \"{room}\"\nadapter = \"work\"\nconversation = \"tea\"\n");
    let text = format!(
        "{PROVIDER}[adapters.work]\nkind = \"loopback\"\n{}{}invite = [\"mimi://c.example/u/cathy\"]\n",
        portal("mimi://a.example/r/one"),
        portal("mimi://b.example/r/two"),
    );
    let expected = [
        "line 14: portals[1].conversation: is already linked by portals[0]: a conversation has one room",
        "line 15: portals[1].invite: the room is not ours: somebody at b.example has to invite (remove this key)",
    ];
    assert_eq!(problems(&text), expected);
}

#[test]
fn a_delivery_is_given_up_after_a_day_to_four_weeks() {
    let with = |days: &str| format!("{PROVIDER}[delivery]\ngive_up_after_days = {days}\n");
    let out_of_bounds = "is not between 1 and 28 (7 is what mail servers do, too)";
    for (days, problem) in [
        ("0", format!("0 {out_of_bounds}")),
        ("29", format!("29 {out_of_bounds}")),
        ("-1", format!("-1 {out_of_bounds}")),
        ("\"7\"", "is a string, but should be a number of days".into()),
    ] {
        assert_eq!(problems(&with(days)), [format!("line 6: delivery.give_up_after_days: {problem}")]);
    }
    assert!(parse(&with("28")).is_ok());
}

#[test]
fn a_socket_path_that_no_address_can_hold_is_a_problem() {
    let told = problems(&format!("{PROVIDER}[admin]\nsocket = \"/{}\"\n", "x".repeat(103)));
    assert_eq!(
        told,
        ["line 6: admin.socket: the path has 104 octets, and 103 fit into a socket address (use a shorter one)"]
    );
}

#[test]
fn what_is_not_said_has_its_default() {
    let config =
        parse(&format!("{PROVIDER}listen = \"127.0.0.1:9443\"\n[adapters.work]\nkind = \"loopback\"\n")).unwrap();
    assert_eq!(config.provider.public_port, 9443);
    assert_eq!(config.provider.authorities_file, None);
    assert_eq!(config.store.place().unwrap(), Place::File("/var/lib/mimi-gateway/gateway.sqlite".into()));
    assert_eq!(config.admin.socket, Path::new("/run/mimi-gateway/admin.sock"));
    assert_eq!(config.admin.listen, None);
    assert!(config.peers.is_empty() && config.consent.is_empty() && config.portals.is_empty());
    let expected = BridgeDisclosure {
        network: "loopback".into(),
        security: Security::Unknown,
        operator: Domain::parse("a.example").unwrap(),
        policy: String::new(),
    };
    assert_eq!(config.disclosure, expected);
    assert_eq!(parse(PROVIDER).unwrap().provider.listen.to_string(), "0.0.0.0:8443");
}

#[test]
fn relative_paths_start_at_the_configuration_file_also_those_of_adapters() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let adapter = "[adapters.work]\nkind = \"loopback\"\nsocket = \"work.sock\"\nname = \"work.sock\"\n[adapters.work.login]\npassword_file = \"/etc/password\"\ntoken_file = \"token\"\n";
    fs::write(&file, format!("{PROVIDER}[store]\npath = \"state/gateway.sqlite\"\n{adapter}")).unwrap();
    let config = Config::parse(&file).unwrap();
    assert_eq!(config.provider.key_file, directory.path().join("a.key"));
    assert_eq!(config.store.place().unwrap(), Place::File(directory.path().join("state/gateway.sqlite")));
    let table = &config.adapters["work"].table;
    assert_eq!(table["socket"].as_str(), directory.path().join("work.sock").to_str());
    assert_eq!(table["name"].as_str(), Some("work.sock"));
    assert_eq!(table["login"]["password_file"].as_str(), Some("/etc/password"));
    assert_eq!(table["login"]["token_file"].as_str(), directory.path().join("token").to_str());
    assert!(!table.contains_key("kind"));

    // Tests run where Cargo.toml is.
    let config = Config::parse(Path::new("config/a.example.toml")).unwrap();
    assert_eq!(config.provider.key_file, Path::new(env!("CARGO_MANIFEST_DIR")).join("config/a.example.key"));
}

#[test]
fn a_database_is_one_file_or_one_server() {
    let url = "url = \"postgres://mimi@db.a.example/mimi\"\n";
    let config = parse(&format!("{PROVIDER}[store]\n{url}")).unwrap();
    assert_eq!(config.store.place().unwrap(), Place::Server("postgres://mimi@db.a.example/mimi".parse().unwrap()));
    assert_eq!(
        problems(&format!("{PROVIDER}[store]\npath = \"x\"\n{url}")),
        ["line 7: store.url: is another database than path (name one of path, url and url_file)"]
    );
    assert_eq!(
        problems(&format!("{PROVIDER}[store]\nurl = \"postgres://mimi:s3cret@db.a.example/mimi\"\n")),
        ["line 6: store.url: has a password in it (put it into a file of its own, and name that as url_file)"]
    );
    assert!(problems(&format!("{PROVIDER}[store]\nurl = \"db.a.example\"\n"))[0].contains("it looks like"));
}

#[test]
fn a_process_among_others_has_an_address_and_a_server() {
    let cluster = "[cluster]\naddress = \"10.0.0.2:8443\"\n";
    let url = "[store]\nurl = \"postgres://mimi@db.a.example/mimi\"\n";
    let config = parse(&format!("{PROVIDER}{url}{cluster}[assets]\ndirectory = \"/srv/assets\"\n")).unwrap();
    assert_eq!(config.cluster.unwrap().address, "10.0.0.2:8443");
    assert_eq!(config.assets, crate::assets::Settings::of("/srv/assets"));
    let told = problems(&format!("{PROVIDER}{url}{cluster}"));
    assert!(told[0].starts_with("assets.directory: is missing (what one process keeps"), "{told:?}");
    assert!(parse(PROVIDER).unwrap().cluster.is_none());
    let told = problems(&format!("{PROVIDER}{cluster}"));
    assert!(told[0].contains("can't share an SQLite file (set url in [store]"), "{told:?}");
}

#[test]
fn files_are_beside_the_database_and_have_a_limit() {
    let with = |lines: &str| format!("{PROVIDER}[store]\npath = \"/srv/mimi/gateway.sqlite\"\n[assets]\n{lines}");
    let settings = |max_size, keep_days| crate::assets::Settings {
        directory: "/srv/mimi/gateway.assets".into(),
        max_size,
        keep_days,
    };
    assert_eq!(parse(&with("")).unwrap().assets, settings(104_857_600, 30));
    assert_eq!(parse(&with("max_size_mib = 2\nkeep_days = 7\n")).unwrap().assets, settings(2_097_152, 7));
    assert_eq!(
        problems(&with("max_size_mib = 0\nkeep_days = \"7\"\n")),
        [
            "line 8: assets.max_size_mib: is not a number between 1 and 65535",
            "line 9: assets.keep_days: is not a number between 1 and 3650",
        ]
    );
}

#[test]
fn the_file_with_a_url_is_read_and_has_to_be_closed_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let (file, secret) = (directory.path().join("gateway.toml"), directory.path().join("url"));
    fs::write(&file, format!("{PROVIDER}[store]\nurl_file = \"url\"\n")).unwrap();
    let told =
        || load(&file).err().unwrap().problems.iter().find(|it| it.path == "store.url_file").unwrap().to_string();
    assert!(told().ends_with("(write the URL into it)"), "{}", told());
    fs::write(&secret, "postgres://mimi:s3cret@db.a.example/mimi\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(told().contains("every user of this machine can reach"), "{}", told());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let place = Config::parse(&file).unwrap().store.place().unwrap();
    assert_eq!(place.to_string(), "postgres://mimi@db.a.example/mimi");
    fs::write(&secret, "mimi:s3cret\n").unwrap();
    assert!(told().contains("is not the URL of a PostgreSQL database") && !told().contains("s3cret"), "{}", told());
}

#[test]
fn debug_shows_no_secret() {
    let text = format!(
        "{PROVIDER}[adapters.work]\nkind = \"matrix\"\nas_token = \"s3cret\"\n[adapters.work.login]\npassword = \"s3cret\"\n"
    );
    let shown = format!("{:?}", parse(&text).unwrap());
    assert!(shown.contains("as_token") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn files_and_adapters_are_looked_at_even_if_another_section_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    fs::write(directory.path().join("a.key"), "no key\n").unwrap();
    fs::write(
        &file,
        format!("{PROVIDER}[store]\npth = \"x\"\n[adapters.work]\nkind = \"loopback\"\nsokket = \"w.sock\"\n"),
    )
    .unwrap();
    let told = load(&file).err().unwrap();
    let told: Vec<_> = told.problems.iter().map(|problem| (problem.line, problem.path.as_str())).collect();
    for expected in [
        (Some(3), "provider.certificate_file"),
        (Some(4), "provider.key_file"),
        (Some(6), "store.pth"),
        (Some(9), "adapters.work.sokket"),
    ] {
        assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
    }
}

/// A directory with `gateway.toml`, and a certificate for `domain` that the gateway believes itself.
fn with_certificate_for(domain: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&Domain::parse(domain).unwrap());
    for (name, pem) in [("a.crt", certificate.as_str()), ("a.key", &key), ("ca.crt", authority.pem())] {
        let file = directory.path().join(name);
        fs::write(&file, pem).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let file = directory.path().join("gateway.toml");
    fs::write(&file, format!("{PROVIDER}authorities_file = \"ca.crt\"\n")).unwrap();
    (directory, file)
}

fn load_problems(file: &Path) -> Vec<String> {
    load(file).err().unwrap().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_that_every_user_can_read_is_a_problem() {
    let (directory, file) = with_certificate_for("a.example");
    assert!(load(&file).is_ok());

    let key = directory.path().join("a.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let key = key.display();
    let expected =
        format!("line 4: provider.key_file: every user of this machine can reach {key} (run: chmod o= {key})");
    assert_eq!(load_problems(&file), [expected]);
}

#[test]
fn a_certificate_that_peers_would_refuse_is_a_problem() {
    let (_directory, file) = with_certificate_for("b.example");
    let told = load_problems(&file);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("line 3: provider.certificate_file: ") && told[0].contains("b.example"), "{told:?}");
}

#[test]
fn a_key_and_authorities_of_something_else_are_two_problems() {
    let (directory, file) = with_certificate_for("a.example");
    let (_, other) = Authority::new().issue(&Domain::parse("a.example").unwrap());
    fs::write(directory.path().join("a.key"), other).unwrap();
    fs::write(directory.path().join("ca.crt"), "").unwrap();
    let told = load_problems(&file);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("line 4: provider.key_file: ")
            && told[1].starts_with("line 5: provider.authorities_file: ")
    );
}

/// The examples, by what they hold, so that a file that is forgotten here is noticed.
fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_file_under_config_is_right() {
    let examples = examples();
    assert!(examples.len() >= 4, "{examples:?}");
    for file in examples {
        if let Err(problems) = Config::parse(&file) {
            panic!("{problems}");
        }
    }
}

/// Their secrets are not there, so they get others. Says something about the adapters of this build only.
#[tokio::test]
async fn the_adapters_of_every_file_under_config_can_be_built() {
    fn give_secrets(table: &mut toml::Table, secret: &str) {
        for (key, value) in table {
            match value {
                toml::Value::Table(table) => give_secrets(table, secret),
                value if key.ends_with("_file") => *value = secret.into(),
                _ => {}
            }
        }
    }
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(&secret, "s3cret\n").unwrap();
    for file in examples() {
        let mut config = Config::parse(&file).unwrap();
        config.adapters.retain(|_, it| adapters::kind(&it.kind).is_ok());
        config.adapters.values_mut().for_each(|it| give_secrets(&mut it.table, secret.path().to_str().unwrap()));
        let (built, problems) = adapters::build(&config.adapters, Some(&config.provider.domain), &Lines::default());
        assert_eq!((built.len(), problems), (config.adapters.len(), vec![]), "{}", file.display());
    }
}

/// The option lines (`#key = value`) of the full example without their `#`.
fn uncommented(text: &str) -> String {
    let option = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with([' ', '#'])).map(str::to_owned)
    };
    text.lines().map(|line| option(line).unwrap_or(line.to_owned()) + "\n").collect()
}

#[test]
fn the_full_example_has_every_option_and_each_of_them_is_known() {
    let text = uncommented(include_str!("../../config/gateway.toml"));
    let (draft, problems) = check(Path::new("gateway.toml"), &text).unwrap();
    // All at once they are two databases too many.
    assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["store.url"]);
    for option in draft.asked.iter().filter(|option| !option.starts_with("adapters.")) {
        let problem = draft.lines.problem(option.as_str(), "");
        let line = text.lines().nth(problem.line.unwrap() - 1).unwrap();
        let key = option.rsplit('.').next().unwrap().trim_end_matches("[0]");
        assert!(line.contains(key), "{option} is not in config/gateway.toml");
    }
}

#[test]
fn who_can_be_found_is_one_of_ours_and_stands_there_once() {
    let text = format!(
        r#"{PROVIDER}
[[findable]]
user = "mimi://a.example/u/alice"
emails = ["alice", "alice@a.example"]

[[findable]]
user = "mimi://b.example/u/bob"
nick = "bob"

[[findable]]
user = "mimi://a.example/u/alice"
"#
    );
    let expected = [
        r#"line 8: findable[0].emails[0]: "alice" is not an email address"#,
        "line 11: findable[1].user: mimi://b.example/u/bob is not one of ours: their own provider says how they are found",
        r#"line 12: findable[1].nick: is not a key that mimi-gateway knows (did you mean "nicks"?)"#,
        "line 15: findable[2].user: is in findable[0] already: put all names of one person into one table",
    ];
    assert_eq!(problems(&text), expected);
    assert!(parse(PROVIDER).unwrap().findable.is_empty());
}
