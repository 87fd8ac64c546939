//! Names of the objects that flows come from, as the controller tells them by cookie.

use std::collections::HashMap;

use openflow::msg::CookieLabels;

/// Most names kept; more are not remembered.
const MOST: usize = 4_000_000;

/// Names by cookie.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    names: HashMap<u64, String>,
}

impl Labels {
    /// Takes over what the controller says; an empty name deletes.
    pub fn update(&mut self, labels: CookieLabels) {
        for (cookie, name) in labels.entries {
            if name.is_empty() {
                self.names.remove(&cookie);
            } else if self.names.len() < MOST || self.names.contains_key(&cookie) {
                self.names.insert(cookie, name);
            }
        }
    }

    /// Names a cookie of our own.
    pub fn set(&mut self, cookie: u64, name: &str) {
        self.names.insert(cookie, name.to_owned());
    }

    /// The name of the object with that cookie.
    pub fn get(&self, cookie: u64) -> Option<&str> {
        self.names.get(&cookie).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_deletes() {
        let mut labels = Labels::default();
        let say = |cookie, name: &str| CookieLabels {
            entries: vec![(cookie, name.to_owned())],
        };
        labels.update(say(7, "Pod bank/web-1"));
        assert_eq!(labels.get(7), Some("Pod bank/web-1"));
        labels.update(say(7, ""));
        assert_eq!(labels.get(7), None);
    }
}
