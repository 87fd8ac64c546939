//! Who can hold addresses.

use std::fmt;

use crate::name::NamespacedName;

/// Who holds an address: a pod, there or away, or a Vip. Of equal age, Vips come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Vip(String),
    Pod(NamespacedName),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Pod(name) => write!(f, "Pod {name}"),
            Owner::Vip(name) => write!(f, "Vip {name}"),
        }
    }
}
