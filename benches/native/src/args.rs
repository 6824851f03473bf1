//! `--name value` pairs; nothing that would need a crate.

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub struct Args(HashMap<String, String>);

impl Args {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("not an option: {word}"))?;
            let value = words.next().ok_or_else(|| format!("--{name} wants a value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Self(pairs))
    }

    pub fn get<T: FromStr>(&self, name: &str) -> Result<T> {
        let value = self.0.get(name).ok_or_else(|| format!("--{name} is missing"))?;
        value.parse().map_err(|_| format!("--{name}: not a valid value: {value}").into())
    }

    /// As `get`; `default` where the option is not given.
    pub fn get_or<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        if self.0.contains_key(name) { self.get(name) } else { Ok(default) }
    }

    pub fn seconds(&self, name: &str) -> Result<Duration> {
        Ok(Duration::try_from_secs_f64(self.get(name)?)?)
    }
}
