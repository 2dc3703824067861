//! Long chains of operators: `a or b or c …`, `a + b - c …`.
//!
//! Operators stream from each other as those of a short expression do, but after
//! some of them the result is kept and the next ones begin from it. So neither
//! the stack nor what is walked grows with the chain:
//!
//! ```text
//! a + b + c … + q │ + r + s … │ + …      what is kept at a bar lets go of all
//! └── streams ──┘ kept        kept       that it was made of
//! ```
//!
//! Upstream evaluates each operator whole before the next, so that no error,
//! remark or count differs. In a run of `or` each link would copy
//! what those before it have, so runs are made at once (`unions`).

use std::sync::Arc;

use super::account::Account;
use super::build::{self, Operand};
use super::context::EvalContext;
use super::error::Result;
use super::node::Vectors;
use super::scalar::{self, Column};
use super::{repeat, unions};
use crate::ast::{BinaryOp, ValueType};
use crate::plan::{Chain, Link};

/// A chain whose value is an instant vector.
pub(crate) fn vectors(ctx: &EvalContext, e: &Chain) -> Result<Vectors> {
    let mut left = build::operand(ctx, &e.first)?;
    let mut links = &e.links[..];
    let mut streaming = 0;
    while let Some((link, behind)) = links.split_first() {
        let alike = or_in_turn(links);
        left = match left {
            Operand::Vectors(first) if alike >= ctx.query.depth.union_links_min => {
                let (run, rest) = links.split_at(alike);
                (links, streaming) = (rest, 0);
                Operand::Vectors(unions::vectors(ctx, first, run)?)
            }
            left => {
                (links, streaming) = (behind, streaming + 1);
                build::combined(ctx, left, &link.operator, &link.rhs, link.place)?
            }
        };
        if streaming >= ctx.query.depth.streamed && !links.is_empty() {
            streaming = 0;
            left = kept(ctx, left)?;
        }
    }
    match left {
        Operand::Vectors(vectors) => Ok(vectors),
        Operand::Column(Column { values, account }) => repeat::of_scalar(ctx, values, account),
    }
}

/// A chain whose value is a scalar.
pub(crate) fn column(ctx: &EvalContext, e: &Chain) -> Result<Column> {
    let mut left = scalar::column(ctx, &e.first)?;
    for link in &e.links {
        let right = scalar::column(ctx, &link.rhs)?;
        let both = scalar::combined(ctx, &link.operator, left, right)?;
        left = Column { account: Account::settled(ctx, &both.account)?, ..both };
    }
    Ok(left)
}

/// How many links from the first on are `or` and match by the same labels.
fn or_in_turn(links: &[Link]) -> usize {
    let Some(first) = links.first().map(|link| &link.operator) else { return 0 };
    let alike = |link: &&Link| {
        let (of, matching) = (&link.operator, &first.matching);
        of.op == BinaryOp::Or && link.value_type == ValueType::Vector && of.matching == *matching
    };
    links.iter().take_while(alike).count()
}

/// Evaluates what was built so far and holds it; what it was made of goes.
fn kept(ctx: &EvalContext, left: Operand) -> Result<Operand> {
    Ok(match left {
        Operand::Column(column) => {
            Operand::Column(Column { account: Account::settled(ctx, &column.account)?, ..column })
        }
        Operand::Vectors(vectors) => {
            let kept = repeat::kept_apart(ctx, vectors)?;
            let account: Arc<Account> = Account::settled(ctx, &kept.account())?;
            Operand::Vectors(kept.counted_by(account))
        }
    })
}
