//! What clients did and saw: the history that the checks of clients judge.

/// What a client did to one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<V> {
    /// It wrote a value.
    Write(V),
    /// It read, and got this value.
    Read(V),
}

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<V> {
    /// The client, for messages.
    pub client: u64,
    /// When it was requested.
    pub invoked: u64,
    /// When the answer came; `None` if none came, or one that leaves the outcome open. A read
    /// without an answer carries no information and is ignored; an operation that certainly did not
    /// happen must be left out.
    pub returned: Option<u64>,
    /// What it did.
    pub action: Action<V>,
}
