//! A small part of CEL: comparisons of fields with fields and literals, `has`, `size`, `in`, `!`, `&&`, `||` and parentheses.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Sign(&'static str),
}

const SIGNS: [&str; 17] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "+", "-"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(match &rest[..end] {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                name => Token::Name(name.to_owned()),
            });
            end
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            tokens.push(Token::Literal(serde_json::from_str(&rest[..end]).ok()?));
            end
        } else if first == '\'' || first == '"' {
            let end = rest[1..].find(first)? + 1;
            tokens.push(Token::Literal(rest[1..end].into()));
            end + 1
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[taken..].trim_start();
    }
    Some(tokens)
}

/// Whether a rule can be judged here at all.
pub(crate) fn understands(rule: &str) -> bool {
    Parser::new(rule).and_then(|mut parser| parser.whole(None)).is_some()
}

/// Whether a rule holds; None where it cannot be judged. A field that is not there makes a rule fail, as it does in CEL.
pub(crate) fn holds(rule: &str, variables: &Value) -> Option<bool> {
    Parser::new(rule)?.whole(Some(variables))?.as_bool()
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn new(rule: &str) -> Option<Self> {
        Some(Self { tokens: tokens(rule)?, at: 0 })
    }

    fn whole(&mut self, variables: Option<&Value>) -> Option<Value> {
        let value = self.or(variables)?;
        (self.at == self.tokens.len()).then_some(value)
    }

    fn next_is(&mut self, sign: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(is);
        is
    }

    fn or(&mut self, variables: Option<&Value>) -> Option<Value> {
        let mut value = self.and(variables)?;
        while self.next_is("||") {
            let right = self.and(variables)?;
            value = (value == true || right == true).into();
        }
        Some(value)
    }

    fn and(&mut self, variables: Option<&Value>) -> Option<Value> {
        let mut value = self.comparison(variables)?;
        while self.next_is("&&") {
            let right = self.comparison(variables)?;
            value = (value == true && right == true).into();
        }
        Some(value)
    }

    fn comparison(&mut self, variables: Option<&Value>) -> Option<Value> {
        let left = self.unary(variables)?;
        if self.tokens.get(self.at) == Some(&Token::Name("in".into())) {
            self.at += 1;
            let right = self.unary(variables)?;
            return Some(right.as_array().is_some_and(|list| list.contains(&left)).into());
        }
        for sign in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.next_is(sign) {
                let right = self.unary(variables)?;
                let ordered = match (left.as_f64(), right.as_f64()) {
                    (Some(left), Some(right)) => left.partial_cmp(&right),
                    _ => left.as_str().zip(right.as_str()).map(|(left, right)| left.cmp(right)),
                };
                return Some(Value::Bool(match sign {
                    "==" => left == right,
                    "!=" => left != right,
                    "<=" => ordered.is_some_and(std::cmp::Ordering::is_le),
                    ">=" => ordered.is_some_and(std::cmp::Ordering::is_ge),
                    "<" => ordered.is_some_and(std::cmp::Ordering::is_lt),
                    _ => ordered.is_some_and(std::cmp::Ordering::is_gt),
                }));
            }
        }
        Some(left)
    }

    fn unary(&mut self, variables: Option<&Value>) -> Option<Value> {
        if self.next_is("!") {
            return Some((self.unary(variables)? != true).into());
        }
        if self.next_is("(") {
            let value = self.or(variables)?;
            return self.next_is(")").then_some(value);
        }
        if self.next_is("[") {
            let mut list = Vec::new();
            while !self.next_is("]") {
                list.push(self.unary(variables)?);
                self.next_is(",");
            }
            return Some(Value::Array(list));
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Literal(value) => Some(value),
            Token::Name(name) if name == "has" || name == "size" => {
                if !self.next_is("(") {
                    return None;
                }
                let value = self.unary(variables)?;
                if !self.next_is(")") {
                    return None;
                }
                Some(match (name.as_str(), &value) {
                    ("has", value) => (!value.is_null()).into(),
                    (_, Value::Array(list)) => list.len().into(),
                    (_, Value::Object(map)) => map.len().into(),
                    (_, value) => value.as_str().map_or(0, |text| text.chars().count()).into(),
                })
            }
            Token::Name(name) if name == "self" || name == "oldSelf" => {
                let mut value = variables.map(|variables| &variables[&name]);
                while self.next_is(".") {
                    let Some(Token::Name(field)) = self.tokens.get(self.at) else { return None };
                    value = value.map(|value| &value[field]);
                    self.at += 1;
                }
                // Methods are not understood.
                if matches!(self.tokens.get(self.at), Some(Token::Sign("(" | "["))) {
                    return None;
                }
                Some(value.cloned().unwrap_or_default())
            }
            _ => None,
        }
    }
}
