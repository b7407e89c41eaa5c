use std::collections::BTreeMap;

use itertools::Itertools;
use serde::Serialize;

#[derive(Serialize)]
struct Note {
    text: String,
    words: BTreeMap<String, usize>,
}

fn main() -> anyhow::Result<()> {
    let text = std::env::args().skip(1).join(" ");
    let word = regex::Regex::new(r"\w+")?;
    let words = word.find_iter(&text).map(|m| m.as_str().to_owned()).counts();
    let words = words.into_iter().collect();
    println!("{}", serde_json::to_string(&Note { text, words })?);
    Ok(())
}
