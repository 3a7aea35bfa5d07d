//! What goes into a mover's standard input: one task with its credentials, then heartbeats. A task is one job, or for a restore one job and the content keys
//! that its snapshot takes, in further messages.
//!
//! A connection can break in the middle of a message and another one begin anew, and the container sees both as one stream. So a message has a beginning
//! that is recognised, a bounded length and a checksum over the run's id, and whoever reads finds the next whole message after a broken one. Nothing here is
//! secret by itself: the API server's TLS carries it. Nothing is ever repeated to anybody.
//!
//! ```text
//! "hdrM" ‖ kind u8 ‖ length u32le ‖ payload ‖ check (16 bytes: BLAKE3 of run, kind, length, payload)
//! ```

mod job;
mod restore;
mod verify;

use zeroize::Zeroizing;

use crate::crypto::content::HandedKey;

pub use job::{Credential, Dump, Job, SecretText};
pub use restore::{Keys, RestoreJob};
pub use verify::{Expected, Question, VerifyJob, milliseconds};

/// How a message begins.
const MAGIC: &[u8; 4] = b"hdrM";
const HEAD_BYTES: usize = MAGIC.len() + 1 + 4;
const CHECK_BYTES: usize = 16;
/// Longest payload: a job has one or two KiB, with many patterns a few more.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: usize = HEAD_BYTES + PAYLOAD_BYTES_MAX + CHECK_BYTES;
/// What the checksum is for, in BLAKE3's key derivation.
const CONTEXT: &str = "homelab-dr v1 mover message";

const KIND_JOB: u8 = 1;
const KIND_HEARTBEAT: u8 = 2;
const KIND_RESTORE: u8 = 3;
const KIND_KEYS: u8 = 4;
const KIND_COMMIT: u8 = 5;
/// A kind of its own, and no field of a restore: a program of before would not look, but write.
const KIND_VERIFY: u8 = 6;

/// Keys in a message; each has some 45 bytes, so that a message is well below the longest.
const KEYS_PER_MESSAGE: usize = 512;
/// Messages with keys. A snapshot takes one key for each backup that something of it is from: this is an hourly backup of seven years.
pub const KEY_MESSAGES_MAX: usize = 128;

/// What a mover is told.
pub enum Message {
    /// What to do, and with which credentials.
    Job(Box<Job>),
    /// What to bring back, and with which credentials; keys follow.
    Restore(Box<RestoreJob>),
    /// What to look at; keys may follow.
    Verify(Box<VerifyJob>),
    /// Some of the keys.
    Keys(Keys),
    /// Somebody still waits for the result.
    Heartbeat,
    /// What was read held still until it was read: it becomes a snapshot.
    Commit,
}

/// Bytes that are no message. Never holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Something else altogether.
    #[error("what came is no message of homelab-dr")]
    Stray,
    /// A length that no message has.
    #[error("a message is longer than {PAYLOAD_BYTES_MAX} bytes")]
    Long,
    /// Damaged, cut off, or for another run.
    #[error("a message is damaged, cut off, or for another run")]
    Check,
    /// Of a later program.
    #[error("a message of kind {0} is not known")]
    Kind(u8),
    /// A job that does not decode.
    #[error("the job does not decode")]
    Job,
    /// A job that is longer than what is sent.
    #[error("the job has {0} bytes, more than a message holds")]
    JobTooLong(usize),
    /// More keys than are sent.
    #[error("the snapshot takes {0} content keys, more than are handed over")]
    TooManyKeys(usize),
}

/// Everything that a mover is told before it begins.
pub struct Task {
    /// In this order. Sent anew as a whole.
    pub(super) messages: Vec<Zeroizing<Vec<u8>>>,
    /// What the mover says when it has all of them.
    pub(super) receipt: String,
}

impl Task {
    /// To back up.
    pub fn backup(run: &str, job: &Job) -> Result<Self, ProtocolError> {
        Ok(Self { messages: vec![self::job(run, job)?], receipt: job.receipt() })
    }

    /// To bring back. The job is given the number of its messages with keys.
    pub fn restore(run: &str, mut job: RestoreJob, keys: Vec<HandedKey>) -> Result<Self, ProtocolError> {
        job.parts = parts_of(&keys)?;
        let first = message(run, KIND_RESTORE, &job::encode(&job))?;
        Ok(Self { messages: with_keys(run, first, (job.salt, job.parts), keys)?, receipt: job.receipt() })
    }

    /// To look. What it is compared with is given the number of its messages with keys; without that there are none.
    pub fn verify(run: &str, mut job: VerifyJob, keys: Vec<HandedKey>) -> Result<Self, ProtocolError> {
        let parts = parts_of(&keys)?;
        if let Some(against) = &mut job.against {
            against.parts = parts;
        }
        let first = message(run, KIND_VERIFY, &job::encode(&job))?;
        Ok(Self { messages: with_keys(run, first, (job.salt, job.parts()), keys)?, receipt: job.receipt() })
    }

    /// The bytes of all messages, one after another.
    #[must_use]
    pub fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut all = Zeroizing::new(Vec::with_capacity(self.messages.iter().map(|message| message.len()).sum()));
        self.messages.iter().for_each(|message| all.extend_from_slice(message));
        all
    }
}

/// How many messages keys take.
fn parts_of(keys: &[HandedKey]) -> Result<u32, ProtocolError> {
    let parts = keys.len().div_ceil(KEYS_PER_MESSAGE);
    if parts > KEY_MESSAGES_MAX {
        return Err(ProtocolError::TooManyKeys(keys.len()));
    }
    Ok(u32::try_from(parts).unwrap_or(u32::MAX))
}

/// The message of a job, and those with its keys.
fn with_keys(
    run: &str,
    job: Zeroizing<Vec<u8>>,
    (salt, parts): ([u8; 16], u32),
    keys: Vec<HandedKey>,
) -> Result<Vec<Zeroizing<Vec<u8>>>, ProtocolError> {
    let (mut messages, mut keys) = (vec![job], keys.into_iter());
    for number in 0..parts {
        let part = Keys { salt, number, keys: keys.by_ref().take(KEYS_PER_MESSAGE).collect() };
        messages.push(message(run, KIND_KEYS, &job::encode(&part))?);
    }
    Ok(messages)
}

fn check(run: &str, kind: u8, payload: &[u8]) -> [u8; CHECK_BYTES] {
    let mut out = [0; CHECK_BYTES];
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for part in [run.as_bytes(), &[kind], payload] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize_xof().fill(&mut out);
    out
}

fn message(run: &str, kind: u8, payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    let too_long = ProtocolError::JobTooLong(payload.len());
    let length = u32::try_from(payload.len()).map_err(|_| too_long)?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(too_long);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + payload.len() + CHECK_BYTES));
    out.extend_from_slice(MAGIC);
    out.push(kind);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&check(run, kind, payload));
    Ok(out)
}

/// The bytes of a job for the mover of a run.
pub fn job(run: &str, job: &Job) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    message(run, KIND_JOB, &job::encode(job))
}

/// The bytes of a heartbeat.
#[must_use]
pub fn heartbeat(run: &str) -> Zeroizing<Vec<u8>> {
    message(run, KIND_HEARTBEAT, &[]).unwrap_or_default()
}

/// The bytes of a word that what was read becomes a snapshot.
#[must_use]
pub fn commit(run: &str) -> Zeroizing<Vec<u8>> {
    message(run, KIND_COMMIT, &[]).unwrap_or_default()
}

/// Finds messages in what comes, in pieces of any size. What it holds is bounded, and wiped.
pub struct Decoder {
    run: String,
    /// Never longer than the longest message, and never moved: a moved buffer would leave its bytes behind.
    buffer: Zeroizing<Vec<u8>>,
    /// The last message was broken, and no other has begun: what is skipped meanwhile is told once.
    skipping: bool,
}

impl Decoder {
    /// For messages to the mover of this run.
    #[must_use]
    pub fn new(run: impl Into<String>) -> Self {
        let buffer = Zeroizing::new(Vec::with_capacity(MESSAGE_BYTES_MAX));
        Self { run: run.into(), buffer, skipping: false }
    }

    /// Takes bytes; the messages that are whole by now, and what was found to be none.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Result<Message, ProtocolError>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let room = MESSAGE_BYTES_MAX.saturating_sub(self.buffer.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.buffer.extend_from_slice(now);
            bytes = later;
            // A full buffer holds a whole message or a broken one, so there is room again afterwards.
            while let Some(next) = self.next() {
                found.extend(next);
            }
        }
        found
    }

    /// `None` until more bytes come; `Some(None)` for a step that gave nothing.
    #[expect(clippy::option_option, reason = "a step may give nothing and yet be one")]
    fn next(&mut self) -> Option<Option<Result<Message, ProtocolError>>> {
        let begins = |bytes: &[u8]| MAGIC.starts_with(bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default());
        if self.buffer.is_empty() {
            return None;
        }
        if !begins(&self.buffer) {
            let at = (1..self.buffer.len()).find(|at| begins(self.buffer.get(*at..).unwrap_or_default()));
            self.drop_first(at.unwrap_or(self.buffer.len()));
            let told = std::mem::replace(&mut self.skipping, true);
            return Some((!told).then_some(Err(ProtocolError::Stray)));
        }
        let head = self.buffer.get(MAGIC.len()..HEAD_BYTES)?;
        let (kind, length) = head.split_first()?;
        let (kind, length) = (*kind, u32::from_le_bytes(length.try_into().ok()?) as usize);
        if length > PAYLOAD_BYTES_MAX {
            return Some(Some(Err(self.broken(ProtocolError::Long))));
        }
        let end = HEAD_BYTES + length;
        let sum = self.buffer.get(end..end + CHECK_BYTES)?;
        let payload = self.buffer.get(HEAD_BYTES..end)?;
        if check(&self.run, kind, payload) != sum {
            return Some(Some(Err(self.broken(ProtocolError::Check))));
        }
        let message = match kind {
            KIND_JOB => job::decode(payload).map(|job| Message::Job(Box::new(job))).ok_or(ProtocolError::Job),
            KIND_RESTORE => {
                let job: Option<RestoreJob> = job::decode(payload);
                job.map(|job| Message::Restore(Box::new(job))).ok_or(ProtocolError::Job)
            }
            KIND_VERIFY => {
                let job: Option<VerifyJob> = job::decode(payload);
                job.map(|job| Message::Verify(Box::new(job))).ok_or(ProtocolError::Job)
            }
            KIND_KEYS => job::decode(payload).map(Message::Keys).ok_or(ProtocolError::Job),
            KIND_HEARTBEAT => Ok(Message::Heartbeat),
            KIND_COMMIT => Ok(Message::Commit),
            other => Err(ProtocolError::Kind(other)),
        };
        self.skipping = false;
        self.drop_first(end + CHECK_BYTES);
        Some(Some(message))
    }

    /// Only the first byte goes: a message that begins in what was taken for a payload is found.
    fn broken(&mut self, error: ProtocolError) -> ProtocolError {
        self.drop_first(1);
        self.skipping = true;
        error
    }

    fn drop_first(&mut self, count: usize) {
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0123456789abcdef";

    fn a_job() -> Job {
        job::example(RUN)
    }

    /// `J` for the job, `H` for a heartbeat, and what is wrong.
    fn told(found: Vec<Result<Message, ProtocolError>>) -> Vec<String> {
        let tell = |found: Result<Message, ProtocolError>| match found {
            Ok(Message::Job(job)) => format!("J {}", job.source),
            Ok(Message::Heartbeat) => "H".to_owned(),
            Ok(Message::Commit) => "C".to_owned(),
            Ok(Message::Restore(job)) => format!("R {}", job.snapshot),
            Ok(Message::Verify(job)) => format!("V {:?}", job.question),
            Ok(Message::Keys(keys)) => format!("K {} {}", keys.number, keys.keys.len()),
            Err(error) => format!("{error:?}"),
        };
        found.into_iter().map(tell).collect()
    }

    #[test]
    fn messages_are_found_in_pieces_of_any_size() {
        let mut stream = job(RUN, &a_job()).expect("short").to_vec();
        stream.extend_from_slice(&heartbeat(RUN));
        stream.extend_from_slice(&commit(RUN));
        for size in [1, 2, 3, 7, 100, stream.len()] {
            let mut decoder = Decoder::new(RUN);
            let found: Vec<_> = stream.chunks(size).flat_map(|piece| decoder.push(piece)).collect();
            assert_eq!(told(found), ["J pvc/media/jellyfin", "H", "C"], "pieces of {size}");
        }
    }

    /// Wherever the connection breaks, the job that is sent anew is found, and every heartbeat after it.
    #[test]
    fn a_message_that_was_cut_off_hides_none_that_follows() {
        let whole = job(RUN, &a_job()).expect("short");
        for cut in 0..whole.len() {
            let mut stream = whole.get(..cut).expect("within").to_vec();
            stream.extend_from_slice(&whole);
            stream.extend_from_slice(&heartbeat(RUN));
            let mut decoder = Decoder::new(RUN);
            let mut found = decoder.push(&stream);
            // A length that was cut off can ask for more than has come: heartbeats bring it.
            while !told_job(&found) {
                found.extend(decoder.push(&heartbeat(RUN)));
            }
            let good = told(found).into_iter().filter(|told| told.starts_with('J')).count();
            assert_eq!(good, 1, "cut at {cut}");
        }
    }

    fn told_job(found: &[Result<Message, ProtocolError>]) -> bool {
        found.iter().any(|found| matches!(found, Ok(Message::Job(_))))
    }

    #[test]
    fn every_changed_byte_is_noticed_and_so_is_another_run() {
        let whole = job(RUN, &a_job()).expect("short");
        for at in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[at] ^= 1;
            assert!(!told_job(&Decoder::new(RUN).push(&changed)), "byte {at}");
        }
        assert_eq!(told(Decoder::new("another").push(&whole)).first().map(String::as_str), Some("Check"));
    }

    #[test]
    fn what_is_no_message_is_told_and_never_kept() {
        let mut decoder = Decoder::new(RUN);
        for _ in 0..100 {
            let found = decoder.push(&[b'x'; 10_000]);
            assert!(found.len() <= 1);
        }
        assert!(decoder.buffer.is_empty());
        let mut long = MAGIC.to_vec();
        long.extend_from_slice(&[KIND_JOB, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(told(Decoder::new(RUN).push(&long)), ["Long"], "what is skipped after it is not told again");
        let other = message(RUN, 9, b"?").expect("short");
        assert_eq!(told(Decoder::new(RUN).push(&other)), ["Kind(9)"]);
        let empty = message(RUN, KIND_JOB, b"\xff").expect("short");
        assert_eq!(told(Decoder::new(RUN).push(&empty)), ["Job"]);
        assert!(message(RUN, KIND_JOB, &vec![0; PAYLOAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_question_goes_both_ways_and_what_is_cut_off_does_not() {
        let sqlite = || Question::Sqlite {
            file: "a/app.db".into(),
            query: Some("select 1".into()),
            answer: Expected::Equals("1".into()),
        };
        for question in [Question::Files(5), Question::NoEmpty(3), sqlite()] {
            let (salt, run) = ([3; 16], RUN.to_owned());
            let job = || VerifyJob {
                salt,
                run: run.clone(),
                question: question.clone(),
                retries: None,
                deadline: Some(1),
                every: 5000,
                against: None,
            };
            let task = Task::verify(RUN, job(), Vec::new()).expect("short");
            assert_eq!(told(Decoder::new(RUN).push(&task.bytes())), [format!("V {question:?}")]);
            assert_eq!(task.receipt, job().receipt());
            let bytes = job::encode(&job());
            assert!((0..bytes.len()).all(|cut| job::decode::<VerifyJob>(&bytes[..cut]).is_none()), "{question:?}");
        }
    }

    #[test]
    fn any_bytes_give_something_and_the_buffer_never_moves() {
        let mut decoder = Decoder::new(RUN);
        let capacity = decoder.buffer.capacity();
        let mut state = 1_u32;
        for _ in 0..2000 {
            let mut piece = Vec::new();
            for _ in 0..97 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                piece.push(if state >> 31 == 0 { MAGIC[(state >> 16) as usize % 4] } else { (state >> 24) as u8 });
            }
            decoder.push(&piece);
        }
        assert_eq!(decoder.buffer.capacity(), capacity);
    }
}
