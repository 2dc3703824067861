//! The syntax tree.
//!
//! Every node knows where it stands in the text, as byte offsets. Durations
//! that are plain literals are resolved to milliseconds by the parser; duration
//! *expressions* stay in the tree (`*_expr`) and are resolved by the engine,
//! which alone knows `step()` and `range()` of the query.
//!
//! Trees nest to the right at most as deep as the parser allows, but to the
//! left without bound: `a or b or c …` is a left spine as long as the query.
//! So [`BinaryExpr`] and [`SubqueryExpr`], the nodes that spines are made of,
//! know their start and type, and are dropped and cloned in a loop. Whoever
//! walks a tree must walk spines in a loop too (see [`crate::visit`]).

use std::mem;

use model::Matcher;

/// Where a node stands in the text: `start..end`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PositionRange {
    /// First byte.
    pub start: u32,
    /// First byte behind it.
    pub end: u32,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// At most one sample a series and step.
    Vector,
    /// Samples of a window a series.
    Matrix,
    /// Text.
    String,
}

impl ValueType {
    /// The name in error messages: `instant vector`.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }

    /// The name in API answers: `vector`.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// `1`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `(expr)`
    Paren(ParenExpr),
    /// `-expr`
    Unary(UnaryExpr),
    /// `lhs op rhs`
    Binary(BinaryExpr),
    /// `sum by (x) (expr)`
    Aggregate(AggregateExpr),
    /// `rate(expr)`
    Call(CallExpr),
    /// `name{matchers}`
    VectorSelector(VectorSelector),
    /// `name{matchers}[5m]`
    MatrixSelector(MatrixSelector),
    /// `expr[1h:5m]`
    Subquery(SubqueryExpr),
    /// An expression where a duration stands; inside `[…]` and `offset` only.
    Duration(DurationExpr),
}

/// A number, or a duration in seconds.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// Its value.
    pub value: f64,
    /// Whether it was written as a duration, and so prints as one.
    pub duration: bool,
    /// Where it stands.
    pub pos: PositionRange,
}

/// A text.
#[derive(Clone, Debug)]
pub struct StringLiteral {
    /// Unescaped; each byte that is no UTF-8 reads as U+FFFD.
    pub value: String,
    /// Unescaped, where escapes like `\xff` made bytes that are no UTF-8. Such
    /// a text is no valid label name or value.
    pub bytes: Option<Box<[u8]>>,
    /// Where it stands, quotes included.
    pub pos: PositionRange,
}

impl StringLiteral {
    /// The text in double quotes, escaped as Go's `strconv.Quote` does.
    pub fn quoted(&self) -> String {
        match &self.bytes {
            Some(bytes) => crate::quote::quote_bytes(bytes),
            None => model::labels::go_quote(&self.value).into_owned(),
        }
    }
}

/// An expression in parentheses.
#[derive(Clone, Debug)]
pub struct ParenExpr {
    /// What is inside.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub pos: PositionRange,
}

/// A sign before an expression.
#[derive(Clone, Debug)]
pub struct UnaryExpr {
    /// Whether it is `-`; else it is `+`.
    pub negative: bool,
    /// What follows.
    pub expr: Box<Expr>,
    /// Where the sign stands.
    pub start: u32,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eql,
    /// `!=`
    Neq,
    /// `<`
    Lss,
    /// `>`
    Gtr,
    /// `<=`
    Lte,
    /// `>=`
    Gte,
    /// `</`: keep what of a histogram lies below
    TrimUpper,
    /// `>/`: keep what of a histogram lies above
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// The operator as printed.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Eql => "==",
            BinaryOp::Neq => "!=",
            BinaryOp::Lss => "<",
            BinaryOp::Gtr => ">",
            BinaryOp::Lte => "<=",
            BinaryOp::Gte => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Whether it compares and so filters.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eql | Neq | Lss | Gtr | Lte | Gte)
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// How many series of either side may match one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One with one.
    #[default]
    OneToOne,
    /// Many on the left: `group_left`.
    ManyToOne,
    /// Many on the right: `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// How many may match.
    pub card: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `labels` are those of `on`.
    pub on: bool,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// Value for series that miss on the left side.
    pub fill_left: Option<f64>,
    /// Value for series that miss on the right side.
    pub fill_right: Option<f64>,
}

/// Two expressions and an operator.
#[derive(Debug)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// Left of it.
    pub lhs: Box<Expr>,
    /// Right of it.
    pub rhs: Box<Expr>,
    /// Set where both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// Scalar where both sides are scalars, else vector.
    pub value_type: ValueType,
    /// From the start of the left side to the end of the right.
    pub pos: PositionRange,
}

/// An aggregation operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    /// The operator as printed.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it must be switched on.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }

    /// Whether it takes a parameter before the vector.
    pub fn has_param(self) -> bool {
        use AggregateOp::*;
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }
}

/// An aggregation over series.
#[derive(Clone, Debug)]
pub struct AggregateExpr {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The parameter of those operators that take one.
    pub param: Option<Box<Expr>>,
    /// Labels grouped by, or left out.
    pub grouping: Vec<String>,
    /// Whether `grouping` is left out instead of grouped by.
    pub without: bool,
    /// Where it stands.
    pub pos: PositionRange,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct CallExpr {
    /// The function.
    pub func: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub pos: PositionRange,
}

/// What the parser must know of a function.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of its arguments.
    pub arg_types: &'static [ValueType],
    /// 0: all arguments must be given; n: up to n more than all but the last
    /// n are optional; -1: the last may be repeated any number of times.
    pub variadic: i32,
    /// What it answers.
    pub return_type: ValueType,
    /// Whether it must be switched on.
    pub experimental: bool,
}

/// The time that `@` pins a selector to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AtModifier {
    /// A fixed time in ms.
    Timestamp(i64),
    /// The start of the query.
    Start,
    /// Its end.
    End,
}

/// A selector of series.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The metric's name where it is written before the braces; one that is
    /// quoted inside them is only a matcher.
    pub name: Option<String>,
    /// All conditions, that on `__name__` included.
    pub matchers: Vec<Matcher>,
    /// `offset` as literal, in ms; may be negative.
    pub offset_ms: i64,
    /// `offset` as expression.
    pub offset_expr: Option<Box<Expr>>,
    /// `@`
    pub at: Option<AtModifier>,
    /// Whether `anchored` follows.
    pub anchored: bool,
    /// Whether `smoothed` follows.
    pub smoothed: bool,
    /// Whether the rule that some matcher must not match the empty string is
    /// waived: the second argument of `info`.
    pub bypass_empty_matcher_check: bool,
    /// Where it stands, modifiers included.
    pub pos: PositionRange,
}

/// A selector of windows.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// The series; its offset and `@` are those of the whole.
    pub selector: VectorSelector,
    /// The window's width as literal, in ms.
    pub range_ms: i64,
    /// The window's width as expression.
    pub range_expr: Option<Box<Expr>>,
    /// First byte behind it.
    pub end: u32,
}

/// An expression evaluated at many times.
#[derive(Debug)]
pub struct SubqueryExpr {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// The window's width as literal, in ms.
    pub range_ms: i64,
    /// The window's width as expression.
    pub range_expr: Option<Box<Expr>>,
    /// The step as literal, in ms; 0 for the default.
    pub step_ms: i64,
    /// The step as expression.
    pub step_expr: Option<Box<Expr>>,
    /// `offset` as literal, in ms; may be negative.
    pub offset_ms: i64,
    /// `offset` as expression.
    pub offset_expr: Option<Box<Expr>>,
    /// `@`
    pub at: Option<AtModifier>,
    /// Where it stands, modifiers included.
    pub pos: PositionRange,
}

/// An operator of a duration expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurationOp {
    /// `+`, also as sign
    Add,
    /// `-`, also as sign
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

impl DurationOp {
    /// The operator as printed.
    pub fn as_str(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
            DurationOp::Step => "step",
            DurationOp::Range => "range",
            DurationOp::MinOf => "min_of",
            DurationOp::MaxOf => "max_of",
        }
    }
}

/// A duration to be computed, in seconds.
#[derive(Clone, Debug)]
pub struct DurationExpr {
    /// The operator.
    pub op: DurationOp,
    /// Left operand; `None` for signs, `step()` and `range()`.
    pub lhs: Option<Box<Expr>>,
    /// Right operand; `None` for `step()` and `range()`.
    pub rhs: Option<Box<Expr>>,
    /// Whether it stands in parentheses.
    pub wrapped: bool,
    /// Where it stands.
    pub pos: PositionRange,
}

impl Expr {
    /// The type of the expression's value. A duration expression is a scalar.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) | Expr::Duration(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Paren(e) => e.expr.value_type(),
            Expr::Unary(e) => e.expr.value_type(),
            Expr::Binary(e) => e.value_type,
            Expr::Aggregate(_) | Expr::VectorSelector(_) => ValueType::Vector,
            Expr::Call(e) => e.func.return_type,
            Expr::MatrixSelector(_) | Expr::Subquery(_) => ValueType::Matrix,
        }
    }

    /// Where the expression stands.
    pub fn pos(&self) -> PositionRange {
        match self {
            Expr::Number(e) => e.pos,
            Expr::String(e) => e.pos,
            Expr::Paren(e) => e.pos,
            Expr::Unary(e) => PositionRange { start: e.start, end: e.expr.pos().end },
            Expr::Binary(e) => e.pos,
            Expr::Aggregate(e) => e.pos,
            Expr::Call(e) => e.pos,
            Expr::VectorSelector(e) => e.pos,
            Expr::MatrixSelector(e) => PositionRange { start: e.selector.pos.start, end: e.end },
            Expr::Subquery(e) => e.pos,
            Expr::Duration(e) => e.pos,
        }
    }
}

/// The left end of every spine that was cut.
fn leaf() -> Expr {
    Expr::Number(NumberLiteral { value: 0.0, duration: false, pos: PositionRange::default() })
}

/// The slot of the node that continues a spine downwards.
fn spine_slot(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::Binary(e) => Some(&mut e.lhs),
        Expr::Subquery(e) => Some(&mut e.expr),
        _ => None,
    }
}

/// Drops what hangs on a spine from the top down, so that no drop nests.
fn drop_spine(top: &mut Expr) {
    if spine_slot(top).is_none() {
        return;
    }
    let mut node = mem::replace(top, leaf());
    while let Some(slot) = spine_slot(&mut node) {
        let below = mem::replace(slot, leaf());
        node = below;
    }
}

impl Drop for BinaryExpr {
    fn drop(&mut self) {
        drop_spine(&mut self.lhs);
    }
}

impl Drop for SubqueryExpr {
    fn drop(&mut self) {
        drop_spine(&mut self.expr);
    }
}

impl BinaryExpr {
    fn clone_onto(&self, lhs: Box<Expr>) -> BinaryExpr {
        BinaryExpr {
            op: self.op,
            lhs,
            rhs: self.rhs.clone(),
            matching: self.matching.clone(),
            return_bool: self.return_bool,
            value_type: self.value_type,
            pos: self.pos,
        }
    }
}

impl SubqueryExpr {
    fn clone_onto(&self, expr: Box<Expr>) -> SubqueryExpr {
        SubqueryExpr {
            expr,
            range_ms: self.range_ms,
            range_expr: self.range_expr.clone(),
            step_ms: self.step_ms,
            step_expr: self.step_expr.clone(),
            offset_ms: self.offset_ms,
            offset_expr: self.offset_expr.clone(),
            at: self.at,
            pos: self.pos,
        }
    }
}

/// Clones a spine from its left end up, so that no clone nests.
fn clone_spine(top: &Expr) -> Box<Expr> {
    let mut spine = Vec::new();
    let mut node = top;
    loop {
        let below = match node {
            Expr::Binary(e) => &e.lhs,
            Expr::Subquery(e) => &e.expr,
            _ => break,
        };
        spine.push(node);
        node = below;
    }
    let mut copy = Box::new(node.clone());
    for node in spine.into_iter().rev() {
        copy = Box::new(match node {
            Expr::Binary(e) => Expr::Binary(e.clone_onto(copy)),
            Expr::Subquery(e) => Expr::Subquery(e.clone_onto(copy)),
            _ => unreachable!("a spine is made of binary expressions and subqueries"),
        });
    }
    copy
}

impl Clone for BinaryExpr {
    fn clone(&self) -> BinaryExpr {
        self.clone_onto(clone_spine(&self.lhs))
    }
}

impl Clone for SubqueryExpr {
    fn clone(&self) -> SubqueryExpr {
        self.clone_onto(clone_spine(&self.expr))
    }
}
