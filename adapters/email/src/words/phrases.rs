//! What mail programs write around people's words, in the languages they write it in.
//!
//! English, German, French, Spanish, Italian, Dutch, Polish, Portuguese, Swedish, Danish, Norwegian; Czech, Finnish
//! and Russian where they have a word of their own. A word is only a hint: each function also asks for the shape around
//! it.

/// What an attribution line begins with, in lower case.
const OPENINGS: [&str; 27] = [
    "on ",
    "am ",
    "le ",
    "el ",
    "il ",
    "op ",
    "em ",
    "den ",
    "w dniu ",
    "dnia ",
    "pon., ",
    "wt., ",
    "śr., ",
    "czw., ",
    "pt., ",
    "sob., ",
    "niedz., ",
    "a ",
    "à ",
    "på ",
    "kl. ",
    "dne ",
    "in data ",
    "il giorno ",
    "no dia ",
    "at ",
    "ma ",
];

/// What it says somebody did, with the spaces or the colon around it.
const WROTE: [&str; 24] = [
    " wrote:",
    " writes:",
    " schrieb",
    " a écrit",
    " escribió",
    " escribio",
    " ha scritto",
    " scrisse",
    " schreef",
    " napisał",
    " pisze:",
    " napisała",
    " escreveu",
    " skrev",
    " följande:",
    " kirjoitti",
    " napsal",
    " skreiv",
    " написал",
    " said:",
    " geschrieben",
    " écrit :",
    " escribe:",
    " wrote :",
];

/// Whether these lines, which stand before a quotation, say whose words it is: when, who, and that they wrote it.
pub fn is_attribution(lines: &[&str]) -> bool {
    let paragraph = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let paragraph = paragraph.trim_matches(['*', '_']).trim();
    if !paragraph.ends_with(':') || paragraph.chars().count() > 300 {
        return false;
    }
    let lower = paragraph.to_lowercase().replace(['\u{a0}', '\u{202f}'], " ");
    let opens = lower.starts_with(|c: char| c.is_ascii_digit()) || OPENINGS.iter().any(|is| lower.starts_with(is));
    if let [first, .., _] = lines {
        // Wrapped. What stands above a short one is a person's, and must not be taken for its beginning.
        let ends = lines[..lines.len() - 1].iter().any(|line| line.trim_end().ends_with(['.', '!', '?']));
        let has_date = first.contains(|c: char| c.is_ascii_digit());
        if ends || !has_date || !(opens || (has_time(first) && has_year(first))) {
            return false;
        }
    }
    let wrote = WROTE.iter().any(|wrote| lower.contains(wrote));
    let has_date = lower.contains(|c: char| c.is_ascii_digit());
    // An address in brackets is nothing that people type, whatever the language is.
    let has_address = lower.find('<').is_some_and(|at| lower[at..].contains('@') || lower[at..].contains("mailto:"));
    let is_dated = has_time(&lower) && has_year(&lower);
    (has_address && (wrote || has_time(&lower))) || (is_dated && lower.contains('@')) || (opens && has_date && wrote)
}

/// Whether there is a time of day: `10:11`, `10.11`.
fn has_time(text: &str) -> bool {
    let digit = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_digit);
    let octets = text.as_bytes();
    (1..octets.len()).any(|at| {
        matches!(octets[at], b':' | b'.')
            && digit(octets.get(at - 1))
            && digit(octets.get(at + 1))
            && digit(octets.get(at + 2))
            && !digit(octets.get(at + 3))
    })
}

fn has_year(text: &str) -> bool {
    let is_year = |word: &str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20"));
    text.split(|c: char| !c.is_ascii_digit()).any(is_year)
}

const ORIGINAL: [&str; 20] = [
    "original message",
    "original appointment",
    "ursprüngliche nachricht",
    "originalnachricht",
    "message d'origine",
    "message original",
    "mensaje original",
    "messaggio originale",
    "oorspronkelijk bericht",
    "wiadomość oryginalna",
    "oryginalna wiadomość",
    "mensagem original",
    "originalmeddelande",
    "ursprungligt meddelande",
    "oprindelig meddelelse",
    "original meddelelse",
    "opprinnelig melding",
    "original besked",
    "původní zpráva",
    "alkuperäinen viesti",
];

const FORWARDED: [&str; 20] = [
    "forwarded message",
    "forwarded by",
    "weitergeleitete nachricht",
    "message transféré",
    "message transmis",
    "mensaje reenviado",
    "messaggio inoltrato",
    "doorgestuurd bericht",
    "wiadomość przekazana",
    "przekazana wiadomość",
    "mensagem encaminhada",
    "mensagem reencaminhada",
    "vidarebefordrat meddelande",
    "vidarebefordrat mejl",
    "videresendt meddelelse",
    "videresendt besked",
    "videresendt melding",
    "přeposlaná zpráva",
    "välitetty viesti",
    "doorgestuurde bericht",
];

/// Apple's, which have no dashes.
const BEGIN_FORWARDED: [&str; 11] = [
    "begin forwarded message:",
    "anfang der weitergeleiteten nachricht:",
    "début du message réexpédié :",
    "début du message transféré :",
    "inicio del mensaje reenviado:",
    "inizio messaggio inoltrato:",
    "begin doorgestuurd bericht:",
    "początek przekazywanej wiadomości:",
    "início da mensagem encaminhada:",
    "vidarebefordrat brev:",
    "start på videresendt besked:",
];

/// Whether a line says that the mail which was answered follows: words between dashes.
pub fn is_original(line: &str) -> bool {
    between_dashes(line).is_some_and(|words| ORIGINAL.contains(&words.as_str()))
}

/// Whether a line says that a mail follows which is passed on.
pub fn is_forwarded(line: &str) -> bool {
    BEGIN_FORWARDED.contains(&line.trim().to_lowercase().replace('\u{a0}', " ").as_str())
        || between_dashes(line).is_some_and(|words| FORWARDED.iter().any(|is| words.starts_with(is)))
}

fn between_dashes(line: &str) -> Option<String> {
    let line = line.trim();
    let words = line.trim_matches(['-', '_', '–', '—']);
    let dashes = line.chars().count() - words.chars().count();
    (dashes >= 4 && line.starts_with(['-', '_', '–', '—']))
        .then(|| words.trim().to_lowercase().replace(['’', '\u{a0}'], "'").replace("d 'origine", "d'origine"))
}

/// What a subject begins with whose mail is passed on.
const FORWARD_PREFIXES: [&str; 14] =
    ["fwd:", "fw:", "wg:", "tr:", "rv:", "i:", "enc:", "vb:", "vs:", "pd:", "doorst:", "videresendt:", "vl:", "tr :"];

pub fn is_forward_subject(subject: &str) -> bool {
    let subject = subject.trim_start().to_lowercase();
    FORWARD_PREFIXES.iter().any(|prefix| subject.starts_with(prefix))
}

/// A field of the block with which Outlook begins what it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    From,
    Date,
    To,
    Subject,
}

const FIELDS: [(Field, &[&str]); 4] = [
    (Field::From, &["from", "von", "de", "da", "van", "od", "från", "fra", "lähettäjä", "от"]),
    (
        Field::Date,
        &[
            "sent",
            "date",
            "gesendet",
            "datum",
            "envoyé",
            "date d'envoi",
            "enviado",
            "enviado el",
            "enviado em",
            "enviada",
            "enviada em",
            "fecha",
            "inviato",
            "data",
            "verzonden",
            "wysłano",
            "wysłane",
            "skickat",
            "sendt",
            "dato",
            "odesláno",
            "lähetetty",
            "отправлено",
            "дата",
        ],
    ),
    (Field::To, &["to", "an", "à", "para", "a", "aan", "do", "till", "til", "komu", "vastaanottaja", "кому"]),
    (
        Field::Subject,
        &[
            "subject",
            "betreff",
            "objet",
            "asunto",
            "oggetto",
            "onderwerp",
            "temat",
            "assunto",
            "ämne",
            "emne",
            "předmět",
            "aihe",
            "тема",
        ],
    ),
];

/// Which field a line is, and its value.
pub fn field(line: &str) -> Option<(Field, &str)> {
    let (label, value) = line.split_once(':').filter(|(label, _)| label.len() <= 60)?;
    let label = label.trim_matches(|c: char| c == '*' || c.is_whitespace()).to_lowercase().replace('’', "'");
    let field = FIELDS.iter().find(|(_, labels)| labels.contains(&label.as_str()))?.0;
    Some((field, value.trim_matches(|c: char| c == '*' || c.is_whitespace())))
}

/// What telephones and programs put at the end, in lower case.
const SENT_FROM: [&str; 34] = [
    "sent from my ",
    "sent from outlook",
    "sent from mail for windows",
    "sent from yahoo",
    "sent from proton",
    "sent from samsung",
    "sent from gmail",
    "sent from a mobile",
    "sent via ",
    "sent with ",
    "get outlook for ",
    "von meinem iphone gesendet",
    "von meinem ipad gesendet",
    "von meinem samsung",
    "gesendet von meinem ",
    "gesendet von outlook",
    "gesendet von mail",
    "gesendet mit ",
    "diese nachricht wurde von meinem ",
    "envoyé de mon ",
    "envoyé depuis ",
    "envoyé à partir de ",
    "enviado desde mi ",
    "enviado desde ",
    "enviado do meu ",
    "enviado de meu ",
    "inviato da",
    "verstuurd vanaf mijn ",
    "verzonden vanaf ",
    "wysłane z ",
    "wysłano z ",
    "skickat från ",
    "sendt fra ",
    "hämta outlook",
];

/// Names that stand in such a line. Without one, "Sent from my grandmother" is what somebody says.
const DEVICES: [&str; 23] = [
    "iphone",
    "ipad",
    "ipod",
    "android",
    "samsung",
    "galaxy",
    "huawei",
    "xiaomi",
    "blackberry",
    "windows",
    "outlook",
    "yahoo",
    "gmail",
    "k-9",
    "thunderbird",
    "gmx",
    "web.de",
    "proton",
    "mobile",
    "smartphone",
    "mail.ru",
    "tuta",
    "ios",
];

/// Whether a line says only which device or program it was written with.
pub fn is_sent_from(line: &str) -> bool {
    let line = line.trim().trim_matches(['*', '_', '.', '-']).trim().to_lowercase();
    line.chars().count() <= 80
        && !line.contains(',')
        && SENT_FROM.iter().any(|phrase| line.starts_with(phrase))
        && DEVICES.iter().any(|device| line.contains(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributions_are_known_in_their_languages() {
        for line in [
            "On Mon, 3 Feb 2025 at 10:11, Bob <bob@b.example> wrote:",
            "On 2/3/25 10:11, Bob wrote:",
            "Am Mo., 3. Feb. 2025 um 10:11 Uhr schrieb Bob <bob@b.example>:",
            "Am 03.02.25 um 10:11 schrieb Bob:",
            "Le lun. 3 févr. 2025 à 10:11, Bob <bob@b.example> a écrit\u{a0}:",
            "Le 03/02/2025 à 10:11, Bob a écrit :",
            "El lun, 3 feb 2025 a las 10:11, Bob (<bob@b.example>) escribió:",
            "Il giorno lun 3 feb 2025 alle ore 10:11 Bob <bob@b.example> ha scritto:",
            "Op ma 3 feb 2025 om 10:11 schreef Bob <bob@b.example>:",
            "W dniu 3.02.2025 o 10:11, Bob pisze:",
            "pon., 3 lut 2025 o 10:11 Bob <bob@b.example> napisał(a):",
            "Em seg., 3 de fev. de 2025 às 10:11, Bob <bob@b.example> escreveu:",
            "Den mån 3 feb. 2025 kl 10:11 skrev Bob <bob@b.example>:",
            "Den man. 3. feb. 2025 kl. 10.11 skrev Bob <bob@b.example>:",
            "2025-02-03 10:11 GMT+01:00 Bob <bob@b.example>:",
            "*On Mon, 3 Feb 2025 at 10:11, Bob <bob@b.example> wrote:*",
        ] {
            assert!(is_attribution(&[line]), "{line}");
        }
        for line in [
            "Look what Bob wrote:",
            "Three things (1, 2, 3):",
            "On the 3rd we have tea:",
            "Bob <bob@b.example> said 3 words",
            "I asked <bob@b.example> 3 times:",
            "wrote:",
        ] {
            assert!(!is_attribution(&[line]), "{line}");
        }
    }

    #[test]
    fn an_attribution_may_be_wrapped_and_does_not_take_along_what_stands_above() {
        assert!(is_attribution(&["On Mon, Feb 3, 2025 at 10:11 AM Bob of the long name", "<bob@b.example> wrote:"]));
        assert!(is_attribution(&["чт, 26 июн. 2014 г. в 14:00, Боб", "<bob@b.example>:"]));
        assert!(is_attribution(&["Alice <alice@a.example> wrote:"]));
        assert!(!is_attribution(&["Yes, at 10:11", "Alice <alice@a.example> wrote:"]));
        assert!(!is_attribution(&["On second thought, at 10:11.", "Alice <alice@a.example> wrote:"]));
        assert!(!is_attribution(&["On second thought, yes", "On 3 Feb 2025, Alice wrote:"]));
    }

    #[test]
    fn lines_of_programs_are_told_from_lines_of_people() {
        for line in [
            "-----Original Message-----",
            "-----Ursprüngliche Nachricht-----",
            "-------- Message d’origine --------",
            "________ Oorspronkelijk bericht ________",
        ] {
            assert!(is_original(line), "{line}");
        }
        for line in ["Original message", "- Original message -", "-----"] {
            assert!(!is_original(line), "{line}");
        }
        for line in [
            "---------- Forwarded message ---------",
            "-------- Weitergeleitete Nachricht --------",
            "Begin forwarded message:",
            "Début du message réexpédié\u{a0}:",
        ] {
            assert!(is_forwarded(line), "{line}");
        }
        for line in [
            "Sent from my iPhone",
            "Von meinem iPhone gesendet",
            "Envoyé de mon iPhone",
            "Get Outlook for iOS",
            "Gesendet mit der GMX Mail App",
            "Sendt fra min iPhone",
            "Enviado desde mi iPad",
        ] {
            assert!(is_sent_from(line), "{line}");
        }
        for line in ["Sent from my grandmother, with love", "My iPhone is lost", "Sent with love"] {
            assert!(!is_sent_from(line), "{line}");
        }
        assert_eq!(field("*Von:* Bob <bob@b.example>"), Some((Field::From, "Bob <bob@b.example>")));
        assert_eq!(field("Objet : thé"), Some((Field::Subject, "thé")));
        assert_eq!(field("Tea: at five"), None);
        assert!(is_forward_subject("Fwd: Tea") && is_forward_subject("WG: Tee") && !is_forward_subject("Re: Fwd: Tea"));
    }
}
