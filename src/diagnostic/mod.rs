//! Mistakes in documents that people write, each with its place.
//!
//! In: findings of `site`. Out: the same findings sorted by place, for a person (`check`) or a program (`--json`).
//! Invariant: a document is read to its end; one mistake never hides another.

/// Where in a document: 1-based line and column (in characters), and the byte range of the text that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The document as the person named it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte range in the document.
    pub span: (usize, usize),
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The documents cannot be used.
    Error,
    /// Legal and suspicious.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// A stable kebab-case code, `unknown-profile`.
    pub code: &'static str,
    /// What is wrong, with the offending text.
    pub message: String,
    /// What to write instead (nearest known name, allowed values), when we know.
    pub help: Option<String>,
}

/// All mistakes found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds an error.
    pub fn error(
        &mut self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.0.push(Diagnostic {
            place: place.clone(),
            severity: Severity::Error,
            code,
            message: message.into(),
            help,
        });
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        place: &Place,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let severity = Severity::Warning;
        self.0.push(Diagnostic { place: place.clone(), severity, code, message: message.into(), help });
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|found| found.severity == Severity::Error).count()
    }
}
