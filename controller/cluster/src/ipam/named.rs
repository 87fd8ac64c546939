//! IPPools: parts of subnets that are given to some only.

use std::collections::BTreeMap;

use super::ranges::{RangeSet, parse_part};
use crate::addr::Family;
use crate::annotations;
use crate::name::{Kind, ObjectRef};
use crate::nodes::by_age;
use crate::problem::Problem;
use crate::subnets::SubnetPlan;
use crate::view::{ClusterView, IpPool};

/// An IPPool in force.
#[derive(Clone, Debug)]
pub(crate) struct NamedPool {
    pub(crate) name: String,
    pub(crate) subnet: String,
    /// What of it is inside the subnet.
    v4: RangeSet,
    v6: RangeSet,
    /// What of that is given unasked.
    given_v4: RangeSet,
    given_v6: RangeSet,
}

impl NamedPool {
    pub(crate) fn ranges(&self, family: Family) -> &RangeSet {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(crate) fn given(&self, family: Family) -> &RangeSet {
        match family {
            Family::V4 => &self.given_v4,
            Family::V6 => &self.given_v6,
        }
    }
}

/// The IPPools that can be used, the oldest first where two contradict each other; what they have
/// is set aside in the plans of their subnets.
pub(crate) fn named_pools(
    view: &ClusterView,
    plans: &mut BTreeMap<String, SubnetPlan>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, NamedPool> {
    let mut pools: BTreeMap<String, NamedPool> = BTreeMap::new();
    for (name, asked) in by_age(&view.ip_pools, |pool| pool.meta.created) {
        let object = ObjectRef::cluster(Kind::IpPool, name);
        annotations::report_unread(&object, &asked.meta, problems);
        match named_pool(name, asked, plans, &pools) {
            Ok(pool) => {
                if let Some(plan) = plans.get_mut(&pool.subnet) {
                    for of in &mut plan.pools {
                        of.set_aside(pool.ranges(of.family()));
                    }
                }
                pools.insert(name.clone(), pool);
            }
            Err((field, message, remedy)) => problems.push(Problem::refused(
                object,
                field,
                format!("{message}; the pool is not in force"),
                remedy,
            )),
        }
    }
    pools
}

type Refusal = (String, String, &'static str);

fn named_pool(
    name: &str,
    asked: &IpPool,
    plans: &BTreeMap<String, SubnetPlan>,
    others: &BTreeMap<String, NamedPool>,
) -> Result<NamedPool, Refusal> {
    let Some(plan) = plans.get(&asked.subnet) else {
        return Err((
            "spec.subnet".into(),
            format!("there is no Subnet {:?} in force", asked.subnet),
            "create it, mend it if it is refused, or correct the name",
        ));
    };
    let mut ranges: BTreeMap<Family, Vec<(u128, u128)>> = BTreeMap::new();
    for (index, text) in asked.ips.iter().enumerate() {
        // An entry that cannot be read refuses the whole: the others alone could be too few.
        let (family, first, last) = parse_part(text).map_err(|why| {
            let remedy = "write it like 10.16.0.5, 10.16.0.5..10.16.0.9 or 10.16.0.16/28";
            (format!("spec.ips[{index}]"), why, remedy)
        })?;
        ranges.entry(family).or_default().push((first, last));
    }
    let mut effective = |family: Family| {
        let ranges = RangeSet::new(ranges.remove(&family).unwrap_or_default());
        match plan.pool(family) {
            Some(pool) => (pool.usable(&ranges, false), pool.usable(&ranges, true)),
            None => <(RangeSet, RangeSet)>::default(),
        }
    };
    let ((v4, given_v4), (v6, given_v6)) = (effective(Family::V4), effective(Family::V6));
    if v4.is_empty() && v6.is_empty() {
        return Err((
            "spec.ips".into(),
            format!("none of it is inside Subnet {}", asked.subnet),
            "name addresses of the subnet",
        ));
    }
    let pool = NamedPool {
        name: name.to_string(),
        subnet: asked.subnet.clone(),
        v4,
        v6,
        given_v4,
        given_v6,
    };
    for other in others.values().filter(|o| o.subnet == pool.subnet) {
        for family in [Family::V4, Family::V6] {
            if let Some(both) = pool.ranges(family).common(other.ranges(family)) {
                let both = family.address(both);
                return Err((
                    "spec.ips".into(),
                    format!("{both} is in IPPool {} already", other.name),
                    "have each address in one pool only",
                ));
            }
        }
    }
    Ok(pool)
}
