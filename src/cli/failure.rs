//! Why a command did not do what it was asked to, in a form that is told to people: a statement, its causes, and what to do.

use std::error::Error;
use std::fmt;

use crate::cli::exit::Exit;
use crate::cli::hints::Advise;

/// What a command ends with when it does not end well.
#[derive(Debug)]
pub enum Failure {
    /// An error that is told.
    Told(Box<Told>),
    /// Whoever reads our standard output has seen enough (`| head`): no error at all.
    OutputClosed,
    /// Stopped as asked.
    Interrupted,
}

/// A told error.
#[derive(Debug)]
pub struct Told {
    /// What the program ends with.
    pub exit: Exit,
    /// What happened; its causes are its sources.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub help: String,
}

/// A statement of the command line's own.
#[derive(Debug)]
struct Statement {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Statement {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Failure {
    /// An error without a cause.
    pub fn new(exit: Exit, what: impl Into<String>, help: impl Into<String>) -> Self {
        let error = Box::new(Statement { what: what.into(), cause: None });
        Self::Told(Box::new(Told { exit, error, help: help.into() }))
    }

    /// Wrong usage or configuration.
    pub fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, help)
    }

    /// An error and what caused it.
    pub fn because(
        exit: Exit,
        what: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
        help: impl Into<String>,
    ) -> Self {
        let error = Box::new(Statement { what: what.into(), cause: Some(cause.into()) });
        Self::Told(Box::new(Told { exit, error, help: help.into() }))
    }

    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Told(told) => told.exit,
            Self::OutputClosed => Exit::Done,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}

impl<E: Advise + Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.advice() {
            Some(advice) => Self::Told(Box::new(Told { exit: advice.exit, help: advice.help, error: Box::new(error) })),
            None => Self::Interrupted,
        }
    }
}
