//! deploy/ADAPTERS.md says what the adapters declare.

use mimi_gateway::adapters;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/ADAPTERS.md");

#[test]
fn the_page_about_the_adapters_is_up_to_date() {
    assert_eq!(adapters::KINDS.len(), 4, "the page is of all adapters: run this with all features");
    let page = adapters::page(adapters::KINDS);
    if std::env::var_os("MIMI_REWRITE").is_some() {
        std::fs::write(DOCUMENT, &page).unwrap();
    }
    let written = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(
        written == page,
        "{DOCUMENT} is out of date: `MIMI_REWRITE=1 cargo test --all-features --test it capabilities` writes it"
    );
}
