//! OVN's match language, as far as it speaks of IP addresses, protocols and ports.

use ipnet::IpNet;

use crate::addr::{Family, bits};
use crate::ipam::ranges::RangeSet;

/// What a part of an expression says of a packet.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// Of this family, or of any.
    Ip(Option<Family>),
    /// Of one of these protocols, each with its family if that is fixed.
    Protocol(Vec<(Option<Family>, u8)>),
    /// Addresses in these ranges.
    Address(Side, Family, RangeSet),
    /// Ports of a protocol in these ranges.
    Port(Side, u8, RangeSet),
    /// Everything, or nothing.
    Constant(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Deepest nesting, so that an expression cannot exhaust the stack.
const DEEPEST: usize = 32;

pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expr = parser.expression()?;
    match parser.peek() {
        None => Ok(expr),
        Some(rest) => Err(format!("{rest:?} stands where the expression should end")),
    }
}

const SYMBOLS: [&str; 15] = [
    "&&", "||", "==", "!=", "<=", ">=", "..", "!", "(", ")", "{", "}", ",", "<", ">",
];

fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s));
        let length = match symbol {
            Some(symbol) => symbol.len(),
            None => {
                let word = |c: char| c.is_ascii_alphanumeric() || "._:/$@\"-".contains(c);
                rest.find(|c| !word(c)).unwrap_or(rest.len())
            }
        };
        if length == 0 {
            let odd = rest.chars().next().unwrap_or_default();
            return Err(format!("{odd:?} has no meaning here"));
        }
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Result<&'a str, String> {
        let token = self.peek().ok_or("the expression ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.take(token) {
            true => Ok(()),
            false => Err(format!("{token:?} is missing")),
        }
    }

    /// As OVN has it, `&&` and `||` do not stand beside each other without parentheses.
    fn expression(&mut self) -> Result<Expr, String> {
        let first = self.unary()?;
        let Some(operator @ ("&&" | "||")) = self.peek() else {
            return Ok(first);
        };
        let mut parts = vec![first];
        while self.take(operator) {
            parts.push(self.unary()?);
        }
        if matches!(self.peek(), Some("&&" | "||")) {
            return Err("&& and || have to be told apart by parentheses".into());
        }
        Ok(match operator {
            "&&" => Expr::And(parts),
            _ => Expr::Or(parts),
        })
    }

    fn unary(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep"));
        }
        let expr = if self.take("!") {
            Expr::Not(Box::new(self.unary()?))
        } else if self.take("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            inner
        } else {
            self.relation()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn relation(&mut self) -> Result<Expr, String> {
        let name = self.next()?;
        if let Some(predicate) = predicate(name) {
            return Ok(predicate);
        }
        let field = field(name)?;
        let operator = self.next()?;
        if !["==", "!=", "<", "<=", ">", ">="].contains(&operator) {
            return Err(format!("a comparison is missing after {name}"));
        }
        let mut values = Vec::new();
        if self.take("{") {
            loop {
                values.push(self.next()?);
                self.take(",");
                if self.take("}") {
                    break;
                }
            }
        } else {
            values.push(self.next()?);
        }
        compare(name, field, operator, &values)
    }
}

fn predicate(name: &str) -> Option<Expr> {
    let (v4, v6) = (Some(Family::V4), Some(Family::V6));
    Some(match name {
        "ip" => Expr::Ip(None),
        "ip4" => Expr::Ip(v4),
        "ip6" => Expr::Ip(v6),
        "tcp" => Expr::Protocol(vec![(None, 6)]),
        "udp" => Expr::Protocol(vec![(None, 17)]),
        "sctp" => Expr::Protocol(vec![(None, 132)]),
        "icmp" => Expr::Protocol(vec![(v4, 1), (v6, 58)]),
        "icmp4" => Expr::Protocol(vec![(v4, 1)]),
        "icmp6" => Expr::Protocol(vec![(v6, 58)]),
        "1" => Expr::Constant(true),
        "0" => Expr::Constant(false),
        _ => return None,
    })
}

#[derive(Clone, Copy)]
enum Field {
    Address(Side, Family),
    Port(Side, u8),
    Protocol,
}

fn field(name: &str) -> Result<Field, String> {
    let (head, side) = name.rsplit_once('.').unwrap_or((name, ""));
    let side = match side {
        "src" => Some(Side::Source),
        "dst" => Some(Side::Destination),
        _ => None,
    };
    Ok(match (head, side) {
        ("ip4", Some(side)) => Field::Address(side, Family::V4),
        ("ip6", Some(side)) => Field::Address(side, Family::V6),
        ("tcp", Some(side)) => Field::Port(side, 6),
        ("udp", Some(side)) => Field::Port(side, 17),
        ("sctp", Some(side)) => Field::Port(side, 132),
        _ if name == "ip.proto" => Field::Protocol,
        _ => return Err(format!("{name:?} is not supported in a match")),
    })
}

fn compare(name: &str, field: Field, operator: &str, values: &[&str]) -> Result<Expr, String> {
    let equality = ["==", "!="].contains(&operator);
    if !equality && (values.len() > 1 || !matches!(field, Field::Port(..))) {
        return Err(format!("{operator} is not for {name}"));
    }
    let expr = match field {
        Field::Address(side, family) => {
            let ranges: Result<Vec<_>, _> = values.iter().map(|v| range(v, family)).collect();
            Expr::Address(side, family, RangeSet::new(ranges?))
        }
        Field::Port(side, protocol) => {
            let last = u128::from(u16::MAX);
            let ranges = values.iter().map(|value| {
                let port: u16 = number(value)?;
                let port = u128::from(port);
                Ok(match operator {
                    "<" => port.checked_sub(1).map(|end| (0, end)),
                    "<=" => Some((0, port)),
                    ">" => (port < last).then(|| (port + 1, last)),
                    ">=" => Some((port, last)),
                    _ => Some((port, port)),
                })
            });
            let ranges: Result<Vec<_>, String> = ranges.collect();
            let ranges = ranges?.into_iter().flatten().collect();
            Expr::Port(side, protocol, RangeSet::new(ranges))
        }
        Field::Protocol => {
            let protocols = values.iter().map(|value| Ok((None, number(value)?)));
            Expr::Protocol(protocols.collect::<Result<_, String>>()?)
        }
    };
    Ok(match operator {
        "!=" => Expr::Not(Box::new(expr)),
        _ => expr,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number that fits"))
}

fn range(text: &str, family: Family) -> Result<(u128, u128), String> {
    if text.starts_with('$') {
        return Err(format!("address sets ({text}) are not supported"));
    }
    let net = text.parse::<IpNet>();
    let net = net.or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    match net {
        Ok(net) if Family::of_net(net) == family => {
            Ok((bits(net.network()), bits(net.broadcast())))
        }
        _ => Err(format!("{text:?} is no {family} address or prefix")),
    }
}
