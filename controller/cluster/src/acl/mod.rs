//! Rules about a subnet's connections: `spec.acls`, `spec.private` and `spec.allowSubnets`.
//!
//! They have the priorities that Kube-OVN gives them, so that one list decides.

mod normal;
mod parse;

use ipnet::IpNet;

use crate::addr::Family;
use crate::desired::{Direction, Rule, Term, Verdict};
use crate::state::SubnetSpec;

/// Closed to all.
const PRIVATE: u16 = 1000;
/// But to itself and those it is open to.
const ALLOWED: u16 = 1001;
/// Inside the subnet, whatever lower rules say.
const EAST_WEST: u16 = 1900;
/// Nodes reach every pod.
const NODES: u16 = 3000;

/// What cannot be done: field, why, remedy.
pub(crate) type Refusal = (String, String, String);

/// The rules of a subnet, the highest priority first. What is done differently than asked goes to
/// `notes`.
pub(crate) fn rules(
    spec: &SubnetSpec,
    cidrs: &[IpNet],
    nodes: &[IpNet],
    notes: &mut Vec<Refusal>,
) -> Result<Vec<Rule>, Refusal> {
    let mut rules = Vec::new();
    for (index, acl) in spec.acls.iter().enumerate() {
        let field = |name: &str| format!("spec.acls[{index}].{name}");
        let direction = match acl.direction.as_str() {
            "from-lport" => Direction::FromPod,
            "to-lport" => Direction::ToPod,
            other => {
                let why = format!("{other:?} is no direction");
                return Err((
                    field("direction"),
                    why,
                    "write from-lport or to-lport".into(),
                ));
            }
        };
        let verdict = match acl.action.as_str() {
            "allow" | "allow-related" => Verdict::Allow,
            "allow-stateless" => Verdict::AllowStateless,
            "drop" => Verdict::Drop,
            "reject" => {
                let why = "reject is done as drop: nobody is told that the connection is refused";
                notes.push((field("action"), why.into(), "write drop".into()));
                Verdict::Drop
            }
            other => {
                let why = format!("{other:?} is no action that is supported");
                let remedy = "write allow, allow-related, allow-stateless, drop or reject";
                return Err((field("action"), why, remedy.into()));
            }
        };
        let priority = u16::try_from(acl.priority);
        let Some(priority) = priority.ok().filter(|p| *p <= Rule::MAX_PRIORITY) else {
            let why = format!("{} is outside 0..={}", acl.priority, Rule::MAX_PRIORITY);
            return Err((field("priority"), why, "correct it".into()));
        };
        let terms = parse::parse(&acl.expression).and_then(|expr| normal::terms(&expr));
        let terms = terms.map_err(|why| {
            let remedy = "use ip, ip4, ip6, tcp, udp, sctp, icmp, icmp4, icmp6, ip.proto, and src \
                          and dst of ip4, ip6, tcp, udp, sctp, with ==, !=, <, <=, >, >=, {}, &&, \
                          ||, ! and parentheses";
            (field("match"), why, remedy.to_string())
        })?;
        rules.push(Rule {
            priority,
            direction,
            verdict,
            terms,
        });
    }
    if spec.allow_ew_traffic && !rules.is_empty() {
        for direction in [Direction::FromPod, Direction::ToPod] {
            rules.push(Rule {
                priority: EAST_WEST,
                direction,
                verdict: Verdict::AllowStateless,
                terms: cidrs.iter().map(|cidr| between(*cidr, *cidr)).collect(),
            });
        }
    }
    let allowed = allowed(spec, cidrs, notes)?;
    if spec.private {
        rules.extend(private(cidrs, &allowed, nodes));
    } else if !allowed.is_empty() {
        notes.push((
            "spec.allowSubnets".into(),
            "the subnet is not private, so it is open to all".into(),
            "set spec.private, or remove this".into(),
        ));
    }
    rules.sort_by_key(|rule| {
        (
            std::cmp::Reverse(rule.priority),
            rule.direction,
            rule.verdict,
        )
    });
    Ok(rules)
}

fn allowed(
    spec: &SubnetSpec,
    cidrs: &[IpNet],
    notes: &mut Vec<Refusal>,
) -> Result<Vec<IpNet>, Refusal> {
    let mut allowed = Vec::new();
    for (index, text) in spec.allow_subnets.iter().enumerate() {
        let field = format!("spec.allowSubnets[{index}]");
        if text.trim().is_empty() {
            continue;
        }
        let net = text.trim().parse::<IpNet>();
        let address = |_| text.trim().parse::<std::net::IpAddr>().map(IpNet::from);
        let Ok(net) = net.or_else(address) else {
            let why = format!("{text:?} is not a prefix");
            return Err((field, why, "write it like 10.16.0.0/16".into()));
        };
        if !cidrs
            .iter()
            .any(|cidr| Family::of_net(*cidr) == Family::of_net(net))
        {
            let why = format!("{net} is of a family that the subnet does not have");
            notes.push((field, why, "remove it".into()));
            continue;
        }
        allowed.push(net.trunc());
    }
    Ok(allowed)
}

fn private(cidrs: &[IpNet], allowed: &[IpNet], nodes: &[IpNet]) -> Vec<Rule> {
    let rule = |priority, direction, verdict, terms| Rule {
        priority,
        direction,
        verdict,
        terms,
    };
    let mut open = Vec::new();
    for cidr in cidrs {
        open.push(between(*cidr, *cidr));
        let same = |net: &&IpNet| Family::of_net(**net) == Family::of_net(*cidr);
        for net in allowed.iter().filter(same) {
            open.push(between(*cidr, *net));
            open.push(between(*net, *cidr));
        }
    }
    let from_nodes = nodes.iter().map(|node| Term {
        family: Some(Family::of_net(*node)),
        sources: vec![*node],
        ..Term::default()
    });
    vec![
        rule(
            NODES,
            Direction::ToPod,
            Verdict::Allow,
            from_nodes.collect(),
        ),
        rule(ALLOWED, Direction::Either, Verdict::Allow, open),
        rule(
            PRIVATE,
            Direction::Either,
            Verdict::Drop,
            vec![Term::default()],
        ),
    ]
}

fn between(source: IpNet, destination: IpNet) -> Term {
    Term {
        family: Some(Family::of_net(source)),
        sources: vec![source],
        destinations: vec![destination],
        ..Term::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Acl;

    fn terms(text: &str) -> Result<Vec<String>, String> {
        let terms = normal::terms(&parse::parse(text)?)?;
        let list = |nets: &[IpNet]| {
            let nets: Vec<_> = nets.iter().map(ToString::to_string).collect();
            nets.join("|")
        };
        Ok(terms
            .iter()
            .map(|t| {
                format!(
                    "{} {}>{} {} {:?}>{:?}",
                    t.family.map_or("ip".into(), |f| f.to_string()),
                    list(&t.sources),
                    list(&t.destinations),
                    t.protocol.unwrap_or_default(),
                    t.source_ports,
                    t.destination_ports
                )
            })
            .collect())
    }

    #[test]
    fn expressions_become_lists_of_what_has_to_hold_together() {
        for (text, expected) in [
            ("ip", vec!["ip > 0 []>[]"]),
            (
                "ip4.dst == 10.10.0.2 && ip",
                vec!["IPv4 >10.10.0.2/32 0 []>[]"],
            ),
            (
                "ip4.src == {10.1.0.0/16, 10.2.0.0/16} && tcp.dst == {80, 443}",
                vec!["IPv4 10.1.0.0/16|10.2.0.0/16> 6 []>[(80, 80), (443, 443)]"],
            ),
            (
                "(tcp.dst >= 8000 && tcp.dst < 9000) || icmp",
                vec![
                    "ip > 6 []>[(8000, 8999)]",
                    "IPv4 > 1 []>[]",
                    "IPv6 > 58 []>[]",
                ],
            ),
            ("!ip4", vec!["IPv6 > 0 []>[]"]),
            ("ip4.src != 128.0.0.0/1", vec!["IPv4 0.0.0.0/1> 0 []>[]"]),
            (
                "!(udp.src == 53 || ip6.dst == fd00::/8)",
                vec![
                    "IPv6 >::/1|8000::/2|c000::/3|e000::/4|f000::/5|f800::/6|fc00::/8|fe00::/7 17 [(0, 52), (54, 65535)]>[]",
                ],
            ),
            ("ip4 && ip6", vec![]),
            ("tcp && ip.proto == 6 && 1", vec!["ip > 6 []>[]"]),
        ] {
            assert_eq!(terms(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_named() {
        for (text, why) in [
            ("", "ends too early"),
            ("inport == \"a\"", "\"inport\" is not supported"),
            ("ip4.src == $blue", "address sets ($blue)"),
            ("ip4 && tcp || udp", "told apart by parentheses"),
            ("ip4.src == fd00::1", "is no IPv4 address"),
            ("ip4.src < 10.0.0.1", "< is not for ip4.src"),
            ("tcp.dst == 70000", "not a number that fits"),
            ("!tcp", "cannot be negated"),
            ("(ip4", "\")\" is missing"),
            ("ip4 ip6", "where the expression should end"),
            ("ip4.src", "ends too early"),
            ("tcp.dst == 80 %", "has no meaning"),
        ] {
            let told = terms(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(terms(&"(".repeat(10_000)).is_err());
    }

    fn of(spec: SubnetSpec) -> Result<(Vec<Rule>, Vec<Refusal>), Refusal> {
        let mut notes = Vec::new();
        let cidr = "10.16.0.0/24".parse().unwrap();
        let node = "172.30.0.1/32".parse().unwrap();
        let rules = rules(&spec, &[cidr], &[node], &mut notes)?;
        Ok((rules, notes))
    }

    #[test]
    fn a_private_subnet_is_open_to_itself_its_nodes_and_those_it_names() {
        let (rules, notes) = of(SubnetSpec {
            private: true,
            allow_subnets: vec!["10.17.0.0/16".into(), "fd00::/8".into()],
            ..Default::default()
        })
        .unwrap();
        let shape: Vec<_> = rules
            .iter()
            .map(|r| (r.priority, r.verdict, r.terms.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (3000, Verdict::Allow, 1),
                (1001, Verdict::Allow, 3),
                (1000, Verdict::Drop, 1)
            ]
        );
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn an_acl_that_makes_no_sense_is_refused_with_its_field() {
        let good = Acl {
            direction: "to-lport".into(),
            priority: 1002,
            expression: "ip".into(),
            action: "drop".into(),
        };
        let refused = |change: &dyn Fn(&mut Acl)| {
            let mut acl = good.clone();
            change(&mut acl);
            let acls = vec![good.clone(), acl];
            of(SubnetSpec {
                acls,
                ..Default::default()
            })
            .unwrap_err()
            .0
        };
        assert_eq!(
            refused(&|a| a.direction = "in".into()),
            "spec.acls[1].direction"
        );
        assert_eq!(
            refused(&|a| a.action = "pass".into()),
            "spec.acls[1].action"
        );
        assert_eq!(refused(&|a| a.priority = 32_768), "spec.acls[1].priority");
        assert_eq!(
            refused(&|a| a.expression = "ct.est".into()),
            "spec.acls[1].match"
        );
        let acls = vec![good];
        let ew = SubnetSpec {
            acls,
            allow_ew_traffic: true,
            ..Default::default()
        };
        let priorities: Vec<_> = of(ew).unwrap().0.iter().map(|r| r.priority).collect();
        assert_eq!(priorities, [1900, 1900, 1002]);
    }
}
