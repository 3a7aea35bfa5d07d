//! What the program ends with. Scripts and `CronJob`s act on these numbers: they never change their meaning.

/// The exit codes, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// Anything that has no number of its own.
    Error = 1,
    /// The command line, the environment or a file given in them.
    Usage = 2,
    /// Finished, and single files had problems; what they were is listed.
    Problems = 3,
    /// Something in the repository is missing or not what was stored.
    Damaged = 4,
    /// The repository or its store is not there, cannot be reached or is full.
    Unreachable = 5,
    /// No key that was given opens it, or it is of another repository or retired.
    Key = 6,
    /// Done as asked it could have cost data, so it was not done.
    Refused = 7,
    /// A run of a runbook stopped where a person has to do or to decide something.
    Waiting = 8,
    /// Ctrl-C, or the machine asked to stop.
    Interrupted = 130,
}

impl Exit {
    /// All of them, for the help text and the documentation.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::Problems,
        Self::Damaged,
        Self::Unreachable,
        Self::Key,
        Self::Refused,
        Self::Waiting,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What a run of several things ends with: the graver of two. Damage outweighs everything but a stop that was asked for; wrong usage of one thing
    /// among others is an error, since "nothing was done" is not true then.
    #[must_use]
    pub const fn graver(self, other: Self) -> Self {
        const fn gravity(exit: Exit) -> u8 {
            match exit {
                Exit::Done => 0,
                Exit::Problems => 1,
                Exit::Waiting => 2,
                Exit::Usage | Exit::Error => 3,
                Exit::Unreachable => 4,
                Exit::Key => 5,
                Exit::Refused => 6,
                Exit::Damaged => 7,
                Exit::Interrupted => 8,
            }
        }
        let graver = if gravity(other) > gravity(self) { other } else { self };
        if matches!(graver, Self::Usage) { Self::Error } else { graver }
    }

    /// One line for the help text.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "an error that has no number of its own",
            Self::Usage => "wrong usage or configuration; nothing was done",
            Self::Problems => "finished, with problems on single files or in the repository, which are listed",
            Self::Damaged => "damage found: something stored is missing or altered",
            Self::Unreachable => "the repository or its store cannot be reached, has vanished or is full",
            Self::Key => "no given key opens the repository, or the key is retired or of another one",
            Self::Refused => "refused, since it could have cost data (a place that is not empty, a forged repository)",
            Self::Waiting => {
                "a run of a runbook stopped where a person has to do or decide something; it can be taken up"
            }
            Self::Interrupted => "interrupted; nothing that was stored is lost",
        }
    }
}

/// The table of exit codes as the long help shows it.
pub(crate) fn help() -> String {
    let rows: Vec<String> = Exit::ALL.iter().map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning())).collect();
    format!("Exit codes:\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]);
        assert_eq!(
            Exit::Interrupted.code(),
            crate::volumes::said::STOPPED,
            "by it a mover says that it was told to end"
        );
    }

    #[test]
    fn of_several_results_the_gravest_counts() {
        let all = |codes: &[Exit]| codes.iter().copied().fold(Exit::Done, Exit::graver);
        assert_eq!(all(&[]), Exit::Done);
        assert_eq!(all(&[Exit::Done, Exit::Problems, Exit::Done]), Exit::Problems);
        assert_eq!(all(&[Exit::Problems, Exit::Usage]), Exit::Error);
        assert_eq!(all(&[Exit::Error, Exit::Unreachable, Exit::Problems]), Exit::Unreachable);
        assert_eq!(all(&[Exit::Damaged, Exit::Refused, Exit::Key]), Exit::Damaged);
        assert_eq!(all(&[Exit::Damaged, Exit::Interrupted]), Exit::Interrupted);
    }

    #[test]
    fn the_help_and_the_documentation_name_every_one() {
        let documented = include_str!("../../docs/cli.md");
        for exit in Exit::ALL {
            assert!(help().contains(exit.meaning()), "{exit:?}");
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(documented.contains(&row), "docs/cli.md lacks the row\n{row}");
        }
    }
}
