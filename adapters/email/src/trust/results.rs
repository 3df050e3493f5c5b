//! What another mail server has found out about a mail (RFC 8601).

/// An `Authentication-Results` field, or what stands in an ARC one behind its instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Who found it out, in lower case.
    pub authserv_id: String,
    pub found: Vec<Found>,
}

/// One method and its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In lower case, without a version: `dkim`, `spf`, `dmarc`, ….
    pub method: String,
    /// In lower case: `pass`, `fail`, `none`, `temperror`, ….
    pub result: String,
    /// Such as `header.from`, in lower case, and its value.
    pub properties: Vec<(String, String)>,
    /// What stands in brackets, in lower case; some say the policy there and nowhere else.
    pub comments: String,
}

impl Found {
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }

    /// The domain of a property that is a domain or an address.
    pub fn domain(&self, name: &str) -> Option<String> {
        let value = self.property(name)?;
        let domain = value.rsplit('@').next().unwrap_or_default().trim_matches(['<', '>', '.']);
        (!domain.is_empty()).then(|| domain.to_ascii_lowercase())
    }
}

/// Reads the value of a field. What can't be read is not in it.
pub fn read(field: &str) -> Results {
    let mut sections = sections(field).into_iter();
    let mut results = Results::default();
    if let Some((words, _)) = sections.next() {
        results.authserv_id = words.first().map(|id| id.to_ascii_lowercase()).unwrap_or_default();
    }
    for (words, comments) in sections {
        let mut pairs = words.iter().filter_map(|word| word.split_once('='));
        let Some((method, result)) = pairs.next() else { continue };
        let method = method.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let properties = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        results.found.push(Found {
            method,
            result: result.to_ascii_lowercase(),
            properties,
            comments: comments.to_ascii_lowercase(),
        });
    }
    results
}

/// The words between semicolons, and the comments there. `a = b` is one word.
fn sections(field: &str) -> Vec<(Vec<String>, String)> {
    let mut sections = vec![(Vec::new(), String::new())];
    let mut word = String::new();
    let mut chars = field.chars().peekable();
    let end = |word: &mut String, sections: &mut Vec<(Vec<String>, String)>| {
        if let Some((words, _)) = sections.last_mut().filter(|_| !word.is_empty()) {
            words.push(std::mem::take(word));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    word.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
                }
            }
            '(' => {
                let mut depth = 1;
                let comments = &mut sections.last_mut().expect("there is always one").1;
                while let Some(c) = chars.next() {
                    match c {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                    comments.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
                }
                comments.push(' ');
            }
            ';' => {
                end(&mut word, &mut sections);
                sections.push(Default::default());
            }
            c if c.is_whitespace() => {
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
                if chars.peek() != Some(&'=') && !word.ends_with('=') {
                    end(&mut word, &mut sections);
                }
            }
            c => word.push(c),
        }
    }
    end(&mut word, &mut sections);
    sections
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_real_servers_are_read() {
        let results = read(
            "MX.c.example;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=a.example header.i=@a.example header.b=\"ab=c\";\r\n \
             spf=pass (mx: domain of alice@a.example designates 192.0.2.1) smtp.mailfrom=alice@A.example;\r\n \
             dmarc/1 = fail (p=REJECT sp=NONE (really) dis=NONE) header.from=a.example",
        );
        assert_eq!(results.authserv_id, "mx.c.example");
        let [dkim, spf, dmarc] = &results.found[..] else { panic!("{results:?}") };
        assert_eq!(
            (dkim.method.as_str(), dkim.result.as_str(), dkim.property("header.b")),
            ("dkim", "pass", Some("ab=c"))
        );
        assert_eq!(dkim.domain("header.i").as_deref(), Some("a.example"));
        assert_eq!(spf.domain("smtp.mailfrom").as_deref(), Some("a.example"));
        assert_eq!((dmarc.method.as_str(), dmarc.result.as_str()), ("dmarc", "fail"));
        assert!(dmarc.comments.contains("p=reject"));
    }

    #[test]
    fn nothing_found_and_nonsense_are_nothing() {
        assert_eq!(read("mx.c.example; none").found, []);
        assert_eq!(read("mx.c.example 1; none").authserv_id, "mx.c.example");
        assert_eq!(read("").authserv_id, "");
        assert_eq!(read("x; dmarc=pass (").found.len(), 1);
        // A comment is not a result.
        assert_eq!(read("x; (dmarc=pass) spf=fail").found[0].method, "spf");
        assert_eq!(read("x; spf=fail reason=\"; dmarc=pass\"").found.len(), 1);
    }

    proptest! {
        #[test]
        fn anything_is_read(field in any::<String>(), more in "[a-z=;()\"\\\\ .@]{0,60}") {
            read(&field);
            read(&more);
        }
    }
}
