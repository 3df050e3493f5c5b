//! Whole mails, in the shapes that mail programs give them.

use mimi_adapter::Text;
use proptest::prelude::*;

use super::*;

fn plain(text: &str) -> Option<Text> {
    Some(Text::Plain(text.to_owned()))
}

fn markdown(text: &str) -> Option<Text> {
    Some(Text::Markdown(text.to_owned()))
}

/// A mail that answers another, of these words.
fn answer(body: &str) -> Words {
    read(
        format!("Subject: Re: Tea\nIn-Reply-To: <k1@c.example>\nContent-Type: text/plain; charset=utf-8\n\n{body}")
            .as_bytes(),
    )
    .unwrap()
}

fn html(body: &str) -> Words {
    read(format!("Subject: Tea\nContent-Type: text/html; charset=utf-8\n\n{body}").as_bytes()).unwrap()
}

macro_rules! fixture {
    ($name:literal) => {
        read(include_bytes!(concat!("../../tests/fixtures/", $name, ".eml"))).unwrap()
    };
}

#[test]
fn gmail_above_a_quotation() {
    let words = fixture!("gmail-top");
    assert_eq!(words.text, markdown("Yes, at **five**.\\\nI bring the cups.\n\nSee you there"));
    let trimmed = words.trimmed.unwrap();
    assert!(trimmed.starts_with("On Mon, Feb 3, 2025") && trimmed.contains("> Is the tea ready?"), "{trimmed}");
    assert!(trimmed.ends_with("Alice Liddell\nWonderland Ltd"), "{trimmed}");
}

#[test]
fn gmail_between_quotations() {
    let words = fixture!("gmail-interleaved");
    assert_eq!(words.text, markdown("> Is the tea ready?\n\nYes.\n\n> And the cake?\n\nNot yet."));
    let trimmed = "On Mon, Feb 3, 2025 at 10:11 AM Bob <tea@c.example> wrote:\n> Bob";
    assert_eq!(words.trimmed.as_deref(), Some(trimmed));
}

#[test]
fn thunderbird_below_a_quotation_with_flowed_lines() {
    let words = fixture!("thunderbird-bottom");
    assert_eq!(words.text, plain("Ja, gleich. Er muss nur noch drei Minuten ziehen, dann bringe ich ihn mit."));
    let trimmed = words.trimmed.unwrap();
    assert!(
        trimmed.contains("> Ist der Tee fertig? Ich frage, weil das Wasser schon seit einer Weile kocht.\n"),
        "{trimmed}"
    );
    assert!(trimmed.ends_with("--\nAlice\nIm Wunderland 1"), "{trimmed}");
}

#[test]
fn thunderbird_in_html() {
    let words = fixture!("thunderbird-html");
    assert_eq!(words.text, markdown("Ja, _gleich_.\n\nMit Milch?"));
    assert_eq!(
        words.trimmed.as_deref(),
        Some("Am 03.02.25 um 10:11 schrieb Bob:\n> Ist der Tee fertig?\n> Bob\n--\nAlice")
    );
}

#[test]
fn a_telephone_of_apple() {
    let words = fixture!("apple-iphone");
    assert_eq!(words.text, plain("On my way!"));
    assert!(words.trimmed.unwrap().starts_with("Sent from my iPhone\n"));
}

#[test]
fn outlook_with_its_block_of_fields() {
    let words = fixture!("outlook-desktop");
    assert_eq!(words.text, plain("Hallo Bob,\n\num fünf.\nAlice"));
    assert!(words.trimmed.unwrap().starts_with("Von: Bob (b.example) <tea@c.example>"));
}

#[test]
fn outlook_of_the_web_and_of_telephones() {
    let words = fixture!("outlook-web");
    assert_eq!(words.text, plain("At five."));
    let trimmed = words.trimmed.unwrap();
    assert!(trimmed.starts_with("Get Outlook for iOS") && trimmed.ends_with("Is the tea ready?"), "{trimmed}");
}

#[test]
fn outlook_in_plain_text() {
    let words = answer(
        "At five.\n\n________________________________\nFrom: Bob\nSent: Monday, February 3, 2025\nTo: Alice\nSubject: Tea\n\nIs it ready?\n",
    );
    assert_eq!(words.text, plain("At five."));
    let words = answer("At five.\n\n-----Original Message-----\nFrom: Bob\n\nIs it ready?\n");
    assert_eq!(words.text, plain("At five."));
    let plan = "From: Oxford\nTo: Wonderland\nSubject: a rabbit\n\nIs that right?";
    assert_eq!(answer(plan).text, plain(plan), "somebody's plan is no header");
}

#[test]
fn a_mail_that_is_only_a_quotation_is_kept_whole() {
    let words = fixture!("k9-quote-only");
    assert_eq!(
        words.text,
        markdown("On 3 February 2025 10:11:12 CET, Bob &lt;tea@c.example> wrote:\n\n> Is the tea ready?\\\n> Bob")
    );
    assert_eq!(words.trimmed, None);
}

#[test]
fn a_photo_without_words_is_a_photo() {
    let mail = include_bytes!("../../tests/fixtures/photo-only.eml");
    let words = read(mail).unwrap();
    assert_eq!(words.text, None);
    assert!(words.trimmed.unwrap().contains("> Is the tea ready?"));
    let [photo] = &words.attachments[..] else { panic!("{:?}", words.attachments) };
    assert_eq!((photo.name.as_str(), photo.media_type.as_str()), ("thé.jpeg", "image/jpeg"));
    assert_eq!(*photo.octets(mail), *b"\xff\xd8\xfftea");
}

#[test]
fn what_is_written_below_an_unmarked_quotation_stays() {
    let header = "From: Bob <bob@b.example>\nSent: Monday\nTo: Alice\nSubject: Tea";
    let file = "--b\nContent-Type: image/png\n\nx\n--b--\n";
    let mail =
        format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{header}\n\nTea?\n\nYes, and a picture.\n{file}");
    let words = read(mail.as_bytes()).unwrap();
    assert!(words.text.unwrap().as_str().ends_with("Yes, and a picture."));
    assert_eq!(words.trimmed, None);
}

#[test]
fn what_is_passed_on_is_kept_whole() {
    let words = fixture!("forwarded");
    let text = words.text.unwrap();
    assert!(
        text.as_str().starts_with("Look at this.")
            && text.as_str().contains("No, coffee.")
            && text.as_str().ends_with("Cathy")
    );
    assert_eq!(words.trimmed, None);
    let words = answer("Look.\n\n---------- Forwarded message ---------\nFrom: Cathy <cathy@c.example>\n\nTea?\n");
    assert_eq!(words.trimmed, None, "whatever the subject says");
}

#[test]
fn files_are_named_for_what_they_are() {
    let mail = include_bytes!("../../tests/fixtures/files.eml");
    let words = read(mail).unwrap();
    assert_eq!(words.text, plain("The plan is attached."));
    let files: Vec<_> =
        words.attachments.iter().map(|file| (file.name.as_str(), file.media_type.as_str(), file.kind)).collect();
    let expected = [
        ("logo.png", "image/png", Kind::Inline),
        ("plan.pdf", "application/pdf", Kind::File),
        ("notes.txt", "text/plain", Kind::File),
        ("forwarded.eml", "message/rfc822", Kind::Forwarded),
        ("invite.ics", "text/calendar", Kind::Invite),
    ];
    assert_eq!(files, expected);
    assert_eq!(*words.attachments[1].octets(mail), *b"%PDF-");
    assert_eq!(*words.attachments[2].octets(mail), *b"th\xe9", "its own charset");
    assert!(words.attachments[3].octets(mail).starts_with(b"From: Cathy"));
    assert!(words.attachments[3].octets(mail).ends_with(b"--inner--\n"));
}

#[test]
fn pictures_go_with_the_lines_that_they_stand_in() {
    let pictures = |body: &str, files: &[&str]| {
        let picture =
            |id: &&str| format!("--r\nContent-Type: image/png; name={id}.png\nContent-ID: <{id}@a.example>\n\nx\n");
        let files: String = files.iter().map(picture).collect();
        let mail = format!(
            "In-Reply-To: <k1@c.example>\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n{body}\n{files}--r--\n"
        );
        let words = read(mail.as_bytes()).unwrap();
        (words.text, words.attachments.into_iter().map(|file| file.kind).collect::<Vec<_>>())
    };
    let signed = "<div class=gmail_signature><img src='cid:logo@a.example'></div>";
    let quoted = "On 3 Feb 2025, Bob wrote:<blockquote>Look<div><img src='cid:theirs@a.example'></div></blockquote>";
    let mine = "<div><img src='cid:mine@a.example' alt='mine.png'></div>";
    use Kind::*;
    let all = ["mine", "logo", "theirs"];
    let said = pictures(&format!("<p>Yes.</p>{mine}{signed}{quoted}"), &all);
    assert_eq!(said, (plain("Yes."), vec![Inline, LeftOut, LeftOut]));
    let said = pictures(&format!("{mine}{signed}{quoted}"), &all);
    assert_eq!(said, (None, vec![Inline, LeftOut, LeftOut]), "a picture says it");
    let (text, kinds) = pictures(quoted, &["theirs"]);
    assert_eq!((text.is_some(), kinds), (true, vec![Inline]), "where nothing is new all is kept");
    let (text, kinds) = pictures(quoted, &["mine"]);
    assert_eq!((text.is_some(), kinds), (false, vec![Inline]), "what nothing refers to is a file");
}

#[test]
fn signed_words_are_words_and_encrypted_ones_are_not() {
    let words = fixture!("list-signed");
    assert_eq!((words.text, words.is_sealed), (plain("Signed words."), false));
    assert_eq!(words.attachments[0].kind, Kind::Signature);
    let words = fixture!("sealed");
    assert_eq!((words.text, words.is_sealed), (None, true));
}

#[test]
fn attributions_in_all_languages_go_with_their_quotation() {
    for attribution in [
        "On Mon, Feb 3, 2025 at 10:11 AM Bob of the very long name <bob@b.example>\nwrote:",
        "Am Mo., 3. Feb. 2025 um 10:11 Uhr schrieb Bob <bob@b.example>:",
        "Le lun. 3 févr. 2025 à 10:11, Bob <bob@b.example> a écrit :",
        "El lun, 3 feb 2025 a las 10:11, Bob (<bob@b.example>) escribió:",
        "Il giorno lun 3 feb 2025 alle ore 10:11 Bob <bob@b.example> ha scritto:",
        "Op ma 3 feb 2025 om 10:11 schreef Bob <bob@b.example>:",
        "pon., 3 lut 2025 o 10:11 Bob <bob@b.example> napisał(a):",
        "Em seg., 3 de fev. de 2025 às 10:11, Bob <bob@b.example> escreveu:",
        "Den mån 3 feb. 2025 kl 10:11 skrev Bob <bob@b.example>:",
    ] {
        let words = answer(&format!("Yes.\nAt five.\n\n{attribution}\n\n> Is the tea ready?\n"));
        assert_eq!(words.text, plain("Yes.\nAt five."), "{attribution}");
        assert_eq!(words.trimmed, Some(format!("{attribution}\n> Is the tea ready?")));
    }
}

/// What each of them puts below "Yes.".
#[test]
fn other_programs_and_their_marks() {
    for (program, below) in [
        (
            "K-9",
            "<br><div class=\"k9mail-signature\">-- <br>Sent from my Android device</div><br><div class=\"gmail_quote\">On 3 February 2025 10:11:12 CET, Bob &lt;bob@b.example&gt; wrote:<blockquote class=\"gmail_quote\" style=\"border-left: 1px solid\">Tea?</blockquote></div>",
        ),
        (
            "Samsung",
            "<div><br></div><div>-------- Original message --------</div><div>From: Bob &lt;bob@b.example&gt; </div><div>Date: 03/02/2025 10:11 (GMT+01:00) </div><div>To: Alice </div><div>Subject: Tea </div><div>Tea?</div>",
        ),
        (
            "Proton",
            "<div class=\"protonmail_signature_block\"><div>Alice</div></div><div class=\"protonmail_quote\">On Monday, February 3rd, 2025 at 10:11 AM, Bob &lt;bob@b.example&gt; wrote:<br><blockquote class=\"protonmail_quote\" type=\"cite\">Tea?</blockquote></div>",
        ),
        (
            "Yahoo",
            "<div id=\"ydp1yahoo_quoted_2\" class=\"yahoo_quoted\"><div>On Monday, February 3, 2025, 10:11 AM, Bob &lt;bob@b.example&gt; wrote:</div><div>Tea?</div></div>",
        ),
        (
            "Zimbra",
            "<hr id=\"zwchr\" data-marker=\"__DIVIDER__\"><div data-marker=\"__HEADERS__\"><b>From: </b>Bob<br><b>Sent: </b>Monday</div><div>Tea?</div>",
        ),
        (
            "GMX",
            "<div style=\"margin:10px\" name=\"quote\"><div><b>Gesendet:</b>&nbsp;Montag, 03. Februar 2025 um 10:11 Uhr<br/><b>Von:</b>&nbsp;Bob &lt;bob@b.example&gt;<br/><b>An:</b>&nbsp;alice@a.example<br/><b>Betreff:</b>&nbsp;Tee</div><div name=\"quoted-content\">Tea?</div></div>",
        ),
        (
            "Roundcube",
            "<p id=\"reply-intro\">On 2025-02-03 10:11, Bob wrote:</p><blockquote type=\"cite\" style=\"padding: 0 0.4em\"><div>Tea?</div></blockquote>",
        ),
        (
            "Hotmail",
            "<div>&gt; Subject: Tea<br>&gt; From: bob@b.example<br>&gt; To: alice@a.example<br>&gt; Date: Mon<br>&gt; <br>&gt; Tea?</div>",
        ),
        (
            "Tutanota",
            "<br>3 Feb 2025, 10:11 by bob@b.example:<br><blockquote class=\"tutanota_quote\"><div>Tea?</div></blockquote>",
        ),
        (
            "Apple Mail",
            "<div><br><blockquote type=\"cite\"><div>On 3 Feb 2025, at 10:11, Bob &lt;bob@b.example&gt; wrote:</div><br class=\"Apple-interchange-newline\"><div>Tea?</div></blockquote></div><br>",
        ),
        (
            "Outlook in French",
            "<p class=\"MsoNormal\"><b>De\u{a0}:</b> Bob<br><b>Envoyé\u{a0}:</b> lundi 3 février 2025 10:11<br><b>À\u{a0}:</b> Alice<br><b>Objet\u{a0}:</b> Thé</p><p>Tea?</p>",
        ),
    ] {
        let mail = format!(
            "In-Reply-To: <k1@c.example>\nContent-Type: text/html; charset=utf-8\n\n<html><body><div>Yes.</div>{below}</body></html>"
        );
        let words = read(mail.as_bytes()).unwrap();
        assert_eq!(words.text, plain("Yes."), "{program}");
        assert!(words.trimmed.unwrap().ends_with("Tea?"), "{program}");
    }
}

#[test]
fn ends_without_a_beginning_do_not_end_a_quotation() {
    let quoted = "<table><tr><td><div>Tea?</div></div></blockquote></p></td></tr></tbody></table>More.";
    let body = format!("<div>Yes.</div>On 3 Feb 2025, Bob wrote:<blockquote><div>{quoted}</div></blockquote>");
    let words = html(&body);
    assert_eq!(words.text, plain("Yes."));
    assert_eq!(words.trimmed.as_deref(), Some("On 3 Feb 2025, Bob wrote:\n> Tea?\n> More."));
}

#[test]
fn quoted_fields_of_a_mail_say_what_is_quoted() {
    let mail = "Subject: RE: Tea\n\nYes.\n\n> Subject: Tea\n> From: bob@b.example\n> To: alice@a.example\n> Date: Mon, 3 Feb 2025\n>\n> Tea?\n";
    assert_eq!(read(mail.as_bytes()).unwrap().text, plain("Yes."), "there is no In-Reply-To");
}

#[test]
fn an_answer_above_a_short_attribution_stays() {
    let words = answer("Yes, at 10:11\nBob <bob@b.example> wrote:\n> When?\n");
    assert_eq!(words.text, plain("Yes, at 10:11"));
}

#[test]
fn what_is_left_out_leaves_no_marks_behind() {
    let quoted =
        "<div>From: <a href='mailto:bob@b.example'>bob@b.example</a><br>Sent: now<br>To: me<br>Subject: <b>x</b></div>";
    let more = "<blockquote><pre>code\n</pre><ul><li>x</li></ul></blockquote>";
    assert_eq!(html(&format!("<div>Yes<br></div>{quoted}{more}")).text, plain("Yes"));
}

#[test]
fn in_doubt_words_stay() {
    for body in [
        "Look what Bob wrote in 5 minutes:\n\nnothing",
        "Sent from my grandmother, with love",
        "a\n--\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm",
        "This mail is confidential. If you are not the intended recipient, delete it.",
        "Best wishes\nAlice",
        "On Mon, Feb 3, 2025 Bob wrote:\nno quotation follows",
    ] {
        assert_eq!(answer(body).text, plain(body), "{body}");
        assert_eq!(answer(body).trimmed, None, "{body}");
    }
    let unasked = read(b"Subject: Poems\n\n> Twinkle, twinkle\n\nDo you know it?\n").unwrap();
    assert_eq!(
        unasked.text,
        markdown("> Twinkle, twinkle\n\nDo you know it?"),
        "what answers nothing quotes something else"
    );
    let long = format!("Above\n-- \n{}", "below\n".repeat(40));
    assert_eq!(answer(&long).trimmed, None, "no signature is that long");
    assert!(answer(&long.replacen("below\n", "", 1)).trimmed.is_some());
    let confidential = answer("Yes.\n-- \nThis mail is confidential.\n");
    assert_eq!(
        (confidential.text, confidential.trimmed.as_deref()),
        (plain("Yes."), Some("--\nThis mail is confidential."))
    );
}

#[test]
fn quotations_between_words_are_kept_as_such() {
    let words = answer(
        "Hello Bob,\n\nOn Mon, 3 Feb 2025, Bob wrote:\n> Tea?\n>> Or coffee?\nTea.\n\n> When?\n\nAt five.\n\n> Bob\n\n-- \nAlice\n",
    );
    let text = "Hello Bob,\n\n> Tea?\n>\n> > Or coffee?\n\nTea.\n\n> When?\n\nAt five.";
    assert_eq!(words.text, markdown(text));
    assert_eq!(words.trimmed.as_deref(), Some("On Mon, 3 Feb 2025, Bob wrote:\n> Bob\n--\nAlice"));
}

#[test]
fn empty_mails_say_nothing() {
    for mail in
        ["", "\n", "Subject: x\n\n", "Subject: x\n\n \n\n", "Content-Type: text/html\n\n<html><body><br></body></html>"]
    {
        assert_eq!(read(mail.as_bytes()), Ok(Words::default()), "{mail:?}");
    }
}

#[test]
fn html_is_read_as_it_looks() {
    for (body, text) in [
        ("<div>one</div><div>two</div><div><br></div><div>three</div>", plain("one\ntwo\n\nthree")),
        ("<p>one<br>two</p><p>three</p>", plain("one\ntwo\n\nthree")),
        ("<ul><li>tea</li><li><b>milk</b></li></ul>", markdown("- tea\n- **milk**")),
        ("<pre>a  b\n c</pre>", markdown("```\na  b\n c\n```")),
        ("<p>see <a href='https://a.example/'>here</a></p>", markdown("see [here](https://a.example/)")),
        ("<p>a<script>x()</script><style>b</style><span style='display:none'>hidden</span></p>", plain("a")),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>", plain("a | b\nc | d")),
        ("1 &lt; 2 *x* &amp;amp;", plain("1 < 2 *x* &amp;")),
        ("a<pre>b", markdown("a\n\n```\nb\n```")),
        ("<div>a<pre>b</div>c", markdown("a\n\n```\nb\n```\n\nc")),
        ("<div>Yes.</div><div>-- <br>Alice<br>Wonderland</div>", plain("Yes.")),
        ("<div>Yes.</div><div id=\"Signature\"><p>Alice</p><p>Wonderland</p></div>", plain("Yes.")),
    ] {
        assert_eq!(html(body).text, text, "{body}");
    }
}

#[test]
fn an_html_form_without_words_gives_way_to_the_plain_one() {
    let mail = "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nwords\n--b\nContent-Type: text/html\n\n<img src=x>\n--b--\n";
    assert_eq!(read(mail.as_bytes()).unwrap().text, plain("words"));
}

#[test]
fn words_in_a_signature_are_found_in_the_plain_form() {
    let mail = "In-Reply-To: <k1@c.example>\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nYes, gladly.\n\n> Tea?\n--b\n\
        Content-Type: text/html\n\n<div class=gmail_signature>Yes, gladly.</div><blockquote>Tea?</blockquote>\n--b--\n";
    assert_eq!(read(mail.as_bytes()).unwrap().text, plain("Yes, gladly."));
}

#[test]
fn what_is_too_long_for_words_is_a_file() {
    let long = format!("Content-Type: text/plain\n\n{}", "\n".repeat(MOST_LINES + 1));
    let words = read(long.as_bytes()).unwrap();
    assert_eq!((words.text, words.attachments[0].name.as_str()), (None, "text.plain"));
    let tags = format!("Content-Type: text/html\n\n{}", "<br>".repeat(MOST_TAGS + 1));
    assert_eq!(read(tags.as_bytes()).unwrap().attachments[0].media_type, "text/html");
}

#[test]
fn forwards_in_forwards_are_one_file() {
    let mail = "Content-Type: message/rfc822\n\n".repeat(100_000);
    let words = read(mail.as_bytes()).unwrap();
    assert_eq!(words.attachments.len(), 1);
    let encoded = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQ29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoKdGVh";
    assert_eq!(
        *read(encoded.as_bytes()).unwrap().attachments[0].octets(encoded.as_bytes()),
        *b"Content-Type: message/rfc822\n\ntea"
    );
}

proptest! {
    #[test]
    fn any_octets_are_read(mail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&mail);
    }

    #[test]
    fn any_pieces_of_mail_are_read(pieces in proptest::collection::vec(prop_oneof![
        Just("Content-Type: multipart/mixed; boundary=b\n"), Just("Content-Type: text/html\n"), Just("\n"), Just("--b\n"), Just("--b--\n"),
        Just("Content-Type: multipart/alternative; boundary=b\n"), Just("> tea\n"), Just("-- \n"), Just("On 3 Feb, Bob <b@b> wrote:\n"),
        Just("<blockquote>"), Just("</blockquote>"), Just("<p>"), Just("<div id=appendonsend>"), Just("From: a@b\nSent: 3\nTo: c\nSubject: d\n"),
        Just("tea"), Just("<pre>"), Just("</pre>"), Just("<br>"), Just("\u{a0}"), Just("Content-Transfer-Encoding: base64\n"), Just("In-Reply-To: <a@b>\n"),
    ], 0..40)) {
        let mail = pieces.concat();
        let words = read(mail.as_bytes()).unwrap();
        // Nothing is said that was not in the mail.
        let mut written = mail.chars();
        let said = words.text.as_ref().map(Text::as_str).unwrap_or_default();
        if !mail.contains("base64") && !mail.contains("<") {
            prop_assert!(said.chars().filter(|c| c.is_alphabetic()).all(|c| written.any(|w| w == c)), "{said:?}");
        }
    }

    #[test]
    fn no_word_of_html_is_lost_however_it_is_tagged(pieces in proptest::collection::vec(prop_oneof![
        4 => "[a-z]{3,6} ",
        1 => Just("<p>".to_owned()), 1 => Just("</p>".to_owned()), 1 => Just("<div>".to_owned()), 1 => Just("</div>".to_owned()),
        1 => Just("<pre>".to_owned()), 1 => Just("</pre>".to_owned()), 1 => Just("<code>".to_owned()), 1 => Just("</code>".to_owned()),
        1 => Just("<b>".to_owned()), 1 => Just("</b>".to_owned()), 1 => Just("<blockquote>".to_owned()), 1 => Just("</blockquote>".to_owned()),
        1 => Just("<ul><li>".to_owned()), 1 => Just("</ul>".to_owned()), 1 => Just("<a href='https://a.example'>".to_owned()),
        1 => Just("</a>".to_owned()), 1 => Just("<br>".to_owned()), 1 => Just("<h1>".to_owned()), 1 => Just("</h1>".to_owned()),
        1 => Just("<td>".to_owned()), 1 => Just("<i>".to_owned()), 1 => Just("&nbsp;".to_owned()), 1 => Just("<s>".to_owned()),
        1 => Just("<p class=MsoNormal>".to_owned()), 1 => Just("\n".to_owned()), 1 => Just("<div>".repeat(300)),
    ], 1..40)) {
        let words: Vec<&str> = pieces.iter().filter(|piece| piece.ends_with(' ')).map(|piece| piece.trim()).collect();
        let read = html(&pieces.concat());
        prop_assert_eq!(read.trimmed, None);
        let mut said = read.text.as_ref().map(Text::as_str).unwrap_or_default();
        for word in words {
            let at = said.find(word);
            prop_assert!(at.is_some(), "{} is not in {:?}", word, said);
            said = &said[at.unwrap() + word.len()..];
        }
    }

    #[test]
    fn a_mail_without_quotations_comes_back_whole(text in "[A-Za-z0-9äöü .,:;!?()@#*_'\n-]{1,200}") {
        prop_assume!(!text.trim().is_empty() && !text.contains("--") && !text.contains("__"));
        let is_header = text.lines().any(|line| phrases::field(line).is_some());
        prop_assume!(!is_header);
        let whole: Vec<&str> = text.lines().map(str::trim_end).collect();
        let whole = whole.join("\n");
        let whole = whole.trim_start_matches('\n').trim_end();
        prop_assert_eq!(answer(&text).text, plain(whole));
    }
}
