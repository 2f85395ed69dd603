//! What the rows share: the agent as a process, sinks that fail on demand, a load that knows what
//! was acknowledged, and the judge.

mod agent;
mod balance;
mod judge;
mod length;
mod load;
mod seen;
mod sink;
mod slowly;

pub(crate) use agent::{Agent, Setup, rabtrace, whole};
pub(crate) use balance::Balance;
pub(crate) use judge::{Verdict, judge, judge_store};
pub(crate) use length::{Length, report};
pub(crate) use load::{Load, Names, Oracle, text};
pub(crate) use seen::below_zero;
pub(crate) use sink::{Kind, Mode, Sink};

pub(crate) use crate::support::eventually;
