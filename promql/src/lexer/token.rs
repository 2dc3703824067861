//! Tokens: their kinds, the keywords among them, and how errors name them.

use std::borrow::Cow;

use model::labels::go_quote;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TokenKind {
    // The ends of a text.
    Eof,
    /// The text cannot be read on from here; the lexer holds the message.
    Error,

    // Names and literals.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,

    // Punctuation.
    Eql,
    Blank,
    Colon,
    Comma,
    LeftBrace,
    LeftBracket,
    LeftParen,
    OpenHist,
    CloseHist,
    RightBrace,
    RightBracket,
    RightParen,
    Space,
    Times,

    // Keys of a histogram in series notation, and the values of one of them.
    SumDesc,
    CountDesc,
    SchemaDesc,
    OffsetDesc,
    NegativeOffsetDesc,
    BucketsDesc,
    NegativeBucketsDesc,
    ZeroBucketDesc,
    ZeroBucketWidthDesc,
    CustomValuesDesc,
    CounterResetHintDesc,
    UnknownCounterReset,
    CounterReset,
    NotCounterReset,
    GaugeType,

    // Operators.
    Add,
    Div,
    EqlC,
    EqlRegex,
    Gte,
    Gtr,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Lss,
    Lte,
    Unless,
    Mod,
    Mul,
    Neq,
    NeqRegex,
    Pow,
    Sub,
    At,
    Atan2,

    // Aggregators.
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
    Limitk,
    LimitRatio,

    // Keywords.
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Ignoring,
    Offset,
    Smoothed,
    Anchored,
    On,
    Without,

    // Keywords that are also functions.
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// One token: its kind and where it stands, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// First byte behind it.
    pub end: u32,
}

/// How a kind of token prints in an error.
enum Group {
    Operator,
    Aggregator,
    Keyword,
    Other,
}

impl TokenKind {
    /// The keyword or special number of that name in lower case.
    pub(super) fn keyword(word: &str) -> Option<TokenKind> {
        use TokenKind::*;
        Some(match word {
            "and" => And,
            "or" => Or,
            "unless" => Unless,
            "atan2" => Atan2,
            "sum" => Sum,
            "avg" => Avg,
            "count" => Count,
            "min" => Min,
            "max" => Max,
            "group" => Group,
            "stddev" => Stddev,
            "stdvar" => Stdvar,
            "topk" => Topk,
            "bottomk" => Bottomk,
            "count_values" => CountValues,
            "quantile" => Quantile,
            "limitk" => Limitk,
            "limit_ratio" => LimitRatio,
            "offset" => Offset,
            "smoothed" => Smoothed,
            "anchored" => Anchored,
            "by" => By,
            "without" => Without,
            "on" => On,
            "ignoring" => Ignoring,
            "group_left" => GroupLeft,
            "group_right" => GroupRight,
            "fill" => Fill,
            "fill_left" => FillLeft,
            "fill_right" => FillRight,
            "bool" => Bool,
            "start" => Start,
            "end" => End,
            "inf" | "nan" => Number,
            _ => return TokenKind::duration_keyword(word),
        })
    }

    /// The keyword of duration expressions of that name in lower case.
    pub(super) fn duration_keyword(word: &str) -> Option<TokenKind> {
        Some(match word {
            "step" => TokenKind::Step,
            "range" => TokenKind::Range,
            "max_of" => TokenKind::MaxOf,
            "min_of" => TokenKind::MinOf,
            _ => return None,
        })
    }

    /// The key of a histogram of that name in lower case.
    pub(super) fn histogram_key(word: &str) -> Option<TokenKind> {
        use TokenKind::*;
        Some(match word {
            "sum" => SumDesc,
            "count" => CountDesc,
            "schema" => SchemaDesc,
            "offset" => OffsetDesc,
            "n_offset" => NegativeOffsetDesc,
            "buckets" => BucketsDesc,
            "n_buckets" => NegativeBucketsDesc,
            "z_bucket" => ZeroBucketDesc,
            "z_bucket_w" => ZeroBucketWidthDesc,
            "custom_values" => CustomValuesDesc,
            "counter_reset_hint" => CounterResetHintDesc,
            _ => return None,
        })
    }

    /// The counter-reset hint of that name in lower case.
    pub(super) fn counter_reset_hint(word: &str) -> Option<TokenKind> {
        Some(match word {
            "unknown" => TokenKind::UnknownCounterReset,
            "reset" => TokenKind::CounterReset,
            "not_reset" => TokenKind::NotCounterReset,
            "gauge" => TokenKind::GaugeType,
            _ => return None,
        })
    }

    /// Whether the token may be the end of an expression whose end is not
    /// otherwise noted.
    pub(crate) fn is_closing(self) -> bool {
        use TokenKind::*;
        matches!(self, RightBrace | RightParen | RightBracket | Duration | Number)
    }

    fn group(self) -> Group {
        use TokenKind::*;
        match self {
            Add | Div | EqlC | EqlRegex | Gte | Gtr | TrimUpper | TrimLower | And | Or | Lss | Lte
            | Unless | Mod | Mul | Neq | NeqRegex | Pow | Sub | At | Atan2 => self::Group::Operator,
            Avg | Bottomk | Count | CountValues | Group | Max | Min | Quantile | Stddev | Stdvar | Sum
            | Topk | Limitk | LimitRatio => self::Group::Aggregator,
            Bool | By | GroupLeft | GroupRight | Fill | FillLeft | FillRight | Ignoring | Offset
            | Smoothed | Anchored | On | Without => self::Group::Keyword,
            _ => self::Group::Other,
        }
    }

    /// The class that stands before the token's text in errors; `None` where
    /// the text alone says what it is.
    fn class(self) -> Option<Cow<'static, str>> {
        use TokenKind::*;
        Some(match self {
            Error => "error".into(),
            Identifier => "identifier".into(),
            MetricIdentifier => "metric identifier".into(),
            String => "string".into(),
            Number => "number".into(),
            Duration => "duration".into(),
            // Upstream has no names for these and prints its own numbering.
            SumDesc | CountDesc | SchemaDesc | OffsetDesc | NegativeOffsetDesc | BucketsDesc
            | NegativeBucketsDesc | ZeroBucketDesc | ZeroBucketWidthDesc | CustomValuesDesc
            | CounterResetHintDesc => {
                let number = 57370 + (self as u32 - SumDesc as u32);
                format!("\"<Item {number}>\"").into()
            }
            UnknownCounterReset | CounterReset | NotCounterReset | GaugeType => {
                let number = 57445 + (self as u32 - UnknownCounterReset as u32);
                format!("\"<Item {number}>\"").into()
            }
            _ => return None,
        })
    }

    /// The token as errors name it: `identifier "x"`, `<op:+>`, `end of input`.
    pub fn describe(self, text: &str) -> String {
        if self == TokenKind::Eof {
            return "end of input".to_owned();
        }
        let shown = match self.group() {
            _ if matches!(self, TokenKind::Identifier | TokenKind::MetricIdentifier) => {
                go_quote(text).into_owned()
            }
            self::Group::Keyword => format!("<{text}>"),
            self::Group::Operator => format!("<op:{text}>"),
            self::Group::Aggregator => format!("<aggr:{text}>"),
            self::Group::Other if text.len() > 10 => {
                let short: std::string::String = text.chars().take(10).collect();
                format!("{}...", go_quote(&short))
            }
            self::Group::Other => go_quote(text).into_owned(),
        };
        match self.class() {
            Some(class) => format!("{class} {shown}"),
            None => shown,
        }
    }
}
