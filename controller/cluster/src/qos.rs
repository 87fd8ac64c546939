//! Bandwidth annotations to rates, with Kube-OVN's units and directions: `ingress` is to the pod,
//! `egress` from it; rates are Mbit/s, bursts Mbit, 1 Mbit = 1,000,000 bits.

use crate::annotations;
use crate::desired::{Qos, Rate};
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::view::Meta;

/// 1,000 bits in a Mbit.
const KBIT: u32 = 1000;

/// The largest value whose kbit fit in the 32 bits of a meter band.
const MAX: u32 = u32::MAX / KBIT;

/// Reads the limits of a pod. A value that cannot be read is reported and leaves that direction
/// without the limit.
pub(crate) fn read(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) -> Qos {
    let mut direction = |rate_name: &str, burst_name: &str| {
        let rate = value(object, meta, rate_name, problems);
        let burst = value(object, meta, burst_name, problems);
        match (rate, burst) {
            (Some(rate), Some(burst)) => Some(Rate {
                kbps: rate * KBIT,
                burst_kbit: burst * KBIT,
            }),
            // Kube-OVN's default: what the rate carries in 0.8 s.
            (Some(rate), None) => Some(Rate {
                kbps: rate * KBIT,
                burst_kbit: rate * (KBIT * 4 / 5),
            }),
            (None, Some(_)) => {
                if let Some(burst) = annotations::kube_ovn(meta, burst_name) {
                    problems.push(Problem::ignored(
                        object.clone(),
                        burst.field(),
                        format!("a burst without {rate_name} has no effect"),
                        format!("add {rate_name}, or remove the burst"),
                    ));
                }
                None
            }
            (None, None) => None,
        }
    };
    Qos {
        ingress: direction("ingress_rate", "ingress_burst"),
        egress: direction("egress_rate", "egress_burst"),
    }
}

/// One value; `0` is "no limit", as in Kube-OVN.
fn value(object: &ObjectRef, meta: &Meta, name: &str, problems: &mut Vec<Problem>) -> Option<u32> {
    let annotation = annotations::kube_ovn(meta, name)?;
    match annotation.value.parse::<u32>() {
        Ok(0) => None,
        Ok(value) if value <= MAX => Some(value),
        _ => {
            problems.push(Problem::refused(
                object.clone(),
                annotation.field(),
                format!(
                    "{:?} is not a whole number of Mbit between 0 and {MAX}: there is no such limit",
                    annotation.value
                ),
                "write it like \"50\"",
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Kind, NamespacedName};

    fn qos(pairs: &[(&str, &str)]) -> (Qos, Vec<String>) {
        let meta = Meta {
            annotations: pairs
                .iter()
                .map(|(k, v)| (format!("ovn.kubernetes.io/{k}"), v.to_string()))
                .collect(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let mut problems = Vec::new();
        let qos = read(&pod, &meta, &mut problems);
        (qos, problems.iter().map(|p| p.to_string()).collect())
    }

    #[test]
    fn a_rate_alone_has_a_burst_of_four_fifths_of_a_second() {
        let (qos, problems) = qos(&[("egress_rate", "50")]);
        assert_eq!(
            qos.egress,
            Some(Rate {
                kbps: 50_000,
                burst_kbit: 40_000
            })
        );
        assert_eq!(qos.ingress, None);
        assert!(problems.is_empty());
    }

    #[test]
    fn directions_do_not_mix_and_a_burst_is_taken_as_written() {
        let (qos, _) = qos(&[
            ("ingress_rate", "10"),
            ("ingress_burst", "3"),
            ("egress_rate", "20"),
        ]);
        assert_eq!(
            qos.ingress,
            Some(Rate {
                kbps: 10_000,
                burst_kbit: 3_000
            })
        );
        assert_eq!(
            qos.egress,
            Some(Rate {
                kbps: 20_000,
                burst_kbit: 16_000
            })
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let (qos, problems) = qos(&[("egress_rate", "0")]);
        assert_eq!(qos, Qos::default());
        assert!(problems.is_empty());
    }

    #[test]
    fn a_value_that_is_not_a_number_of_mbit_is_reported_and_the_other_direction_holds() {
        for bad in ["50M", "-1", "0.5", "4294968", "99999999999999999999"] {
            let (qos, problems) = qos(&[("egress_rate", bad), ("ingress_rate", "10")]);
            assert_eq!(qos.egress, None, "{bad}");
            assert!(qos.ingress.is_some(), "{bad}");
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(
                problems[0].contains("ovn.kubernetes.io/egress_rate") && problems[0].contains(bad)
            );
        }
        assert!(qos(&[("egress_rate", "4294967")]).0.egress.is_some());
    }

    #[test]
    fn a_burst_without_a_rate_is_reported() {
        let (qos, problems) = qos(&[("egress_burst", "5")]);
        assert_eq!(qos, Qos::default());
        assert!(problems[0].contains("without egress_rate"), "{problems:?}");
    }
}
