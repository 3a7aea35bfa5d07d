//! Every parser of foreign bytes against mutations of what was really encoded: a value or an error, never a panic, never memory
//! out of proportion to the input.
//!
//! `HOMELAB_DR_FUZZ_SECONDS` is the time of a processor for each target (2 by default). A failure prints the seed of its case and the input in hex:
//! `HOMELAB_DR_FUZZ_SEED` begins with that case, `HOMELAB_DR_FUZZ_INPUT` tries that input alone. Keys and corpora are the same in
//! every run, but for sealed bytes, which are random: replay those by their input.

mod mutate;
mod records;
mod runs;
mod samples;
mod sealed;
mod texts;
mod trees;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mutate::{Random, Shape};
use rustix::time::{ClockId, clock_gettime};

/// Bytes that a target may hold at once: `fixed`, and `each` for every byte of input.
#[derive(Clone, Copy)]
struct Memory {
    fixed: u64,
    each: u64,
}

/// A value takes more than its bytes (an empty string of one byte is 24 in memory), and a vector that grows holds itself three times.
const IN_PROPORTION: Memory = Memory { fixed: 64 << 10, each: 128 };

/// Runs a target for its time. `run` answers whether it took the bytes for a value; it must take all of `corpus`.
fn fuzz(name: &str, shape: Shape<'_>, corpus: &[Vec<u8>], memory: Memory, run: impl Fn(&[u8]) -> bool) {
    if let Some(input) = setting("HOMELAB_DR_FUZZ_INPUT") {
        let input = data_encoding::HEXLOWER_PERMISSIVE.decode(input.as_bytes()).expect("hex");
        println!("{name}: {} input of {} bytes", verdict(run(&input)), input.len());
        return;
    }
    for sample in corpus {
        let taken = case(name, "a sample", sample, memory, &run);
        assert!(taken, "{name}: a sample is refused: {}", data_encoding::HEXLOWER.encode(sample));
    }
    let seconds = setting("HOMELAB_DR_FUZZ_SECONDS").map_or(2.0, |text| text.parse().expect("seconds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = setting("HOMELAB_DR_FUZZ_SEED")
        .map_or_else(|| u64::try_from(now.as_micros()).expect("before 500,000"), |text| text.parse().expect("a seed"));
    let end = processor_time() + Duration::from_secs_f64(seconds);
    let (mut seed, mut taken) = (first, 0_u64);
    loop {
        let input = mutate::mutation(&mut Random(seed), shape, corpus);
        let which = format!("HOMELAB_DR_FUZZ_SEED={seed}");
        taken += u64::from(case(name, &which, &input, memory, &run));
        seed = seed.wrapping_add(1);
        if processor_time() > end {
            break;
        }
    }
    println!("{name}: {} cases from seed {first}, {taken} of them values", seed.wrapping_sub(first));
}

/// What this thread has had of a processor: it may have to wait for one, and then fewer cases would be tried.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("no negative time"),
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}

fn verdict(taken: bool) -> &'static str {
    if taken { "took an" } else { "refused an" }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// One input; whatever goes wrong is told with what it takes to see it again.
fn case(name: &str, which: &str, input: &[u8], memory: Memory, run: &impl Fn(&[u8]) -> bool) -> bool {
    let mut outcome = Ok(false);
    let used = allocation_counter::measure(|| outcome = catch_unwind(AssertUnwindSafe(|| run(input))));
    let limit = memory.fixed + memory.each * input.len() as u64;
    let failure = match outcome {
        Ok(taken) if used.bytes_max <= limit => return taken,
        Ok(_) => format!("held {} bytes at once for {} of input; the limit is {limit}", used.bytes_max, input.len()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    panic!("{name}, {which}: {failure}\nHOMELAB_DR_FUZZ_INPUT={}", data_encoding::HEXLOWER.encode(input));
}

#[test]
fn a_target_that_panics_or_takes_too_much_memory_is_noticed() {
    let noticed = |memory, run: fn(&[u8]) -> bool| {
        catch_unwind(|| fuzz("planted", Shape::Raw, &[b"abc".to_vec()], memory, run))
            .expect_err("noticed")
            .downcast_ref::<String>()
            .cloned()
            .expect("text")
    };
    let panicked = noticed(IN_PROPORTION, |bytes| if bytes == b"abc" { true } else { panic!("planted panic") });
    assert!(panicked.contains("planted panic") && panicked.contains("HOMELAB_DR_FUZZ_SEED="), "{panicked}");
    let greedy = noticed(IN_PROPORTION, |bytes| Vec::<u8>::with_capacity(bytes.len() << 20).capacity() > 0);
    assert!(greedy.contains("at once") && greedy.contains("HOMELAB_DR_FUZZ_INPUT=616263"), "{greedy}");
}
