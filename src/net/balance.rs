//! Which core is to have less to do: the decision, without threads or clocks.
//!
//! What sparse traffic costs is the number of cores woken for it, so connections belong on as few cores
//! as their work needs; what heavy traffic needs is all of them. Connections are placed when they come
//! and moved when that turns out wrong.

/// Parts of a core's time, in thousandths.
pub(crate) type Permille = u64;

/// A core busier than this hands connections to one that has much less to do. Not sooner: a message that
/// crosses from one core to another costs more than one that does not, up to twice as much when many
/// publish to one.
const HOT: Permille = 850;
/// So much of one processor must be idle for it: on a machine that is fully used, a second thread gives
/// smaller batches and no more time.
const SPARE: Permille = 200;
/// The difference between two cores that is worth a move.
const GAP: Permille = 200;
/// Two cores that are this busy together do with one of them.
const PACKED: Permille = 350;
/// How many looks in a row must find the work small before connections are brought together: a lull of a
/// moment would otherwise move them twice.
const CALM_LOOKS: u32 = 5;
/// Below this a core does nothing but its own housekeeping.
const IDLE: Permille = 5;

/// One core at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreLoad {
    /// How much of the time since the last look it was running.
    pub(crate) busy: Permille,
    /// Connections on it.
    pub(crate) connections: usize,
}

/// Connections with so much work are to change cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The share of the work on `from` that is to go, in thousandths.
    pub(crate) share: u32,
}

/// How cores are used (`connection_placement`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// As few cores as the work needs.
    #[default]
    Pack,
    /// All cores alike, from the first connection on.
    Spread,
}

/// What a core is told at a look, and does until the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Counts the looks.
    pub(crate) look: u32,
    /// Where connections are to go on.
    pub(crate) to: usize,
    /// Those with so much of the work since the last look, in thousandths.
    pub(crate) share: u32,
}

/// The share of everything.
pub(crate) const ALL: u32 = 1_000;
/// Connections that change cores between two looks, at most: each costs some system calls.
const MOVES: u32 = 1_024;

/// The work of a core's connections, and how much of it is to go.
#[derive(Debug, Default)]
pub(crate) struct Work {
    order: Order,
    /// Units of work since the look.
    units: u64,
    /// Units that may still go, and connections.
    budget: u64,
    moves: u32,
}

/// What one connection has had to do lately, in units: messages and turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    look: u32,
    units: u32,
    before: u32,
}

impl Work {
    /// The look this core has seen.
    pub(crate) fn look(&self) -> u32 {
        self.order.look
    }

    /// There was a look.
    pub(crate) fn begin(&mut self, order: Order) {
        let units = std::mem::take(&mut self.units);
        self.budget = if order.share >= ALL {
            u64::MAX
        } else {
            // Rounded up: a share that is asked for is at least one light connection.
            (units * u64::from(order.share)).div_ceil(1_000)
        };
        self.moves = MOVES;
        self.order = order;
    }

    /// Counts what a connection has done in its turn. Says where it is to go on, if it is to go.
    pub(crate) fn turn(&mut self, weight: &mut Weight, units: u32) -> Option<usize> {
        self.units += u64::from(units);
        weight.add(units, self.order.look);
        if self.budget == 0 || self.moves == 0 || u64::from(weight.before) > self.budget {
            return None;
        }
        self.moves -= 1;
        self.budget -= u64::from(weight.before.max(1));
        Some(self.order.to)
    }
}

impl Weight {
    fn add(&mut self, units: u32, look: u32) {
        if self.look != look {
            // What is older than one look tells nothing of now.
            let is_last = self.look.wrapping_add(1) == look;
            self.before = if is_last { self.units } else { 0 };
            self.units = 0;
            self.look = look;
        }
        self.units = self.units.saturating_add(units);
    }

    /// On a core that counts its own looks.
    pub(crate) fn moved(&mut self) {
        *self = Self::default();
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    calm_looks: u32,
}

impl Balancer {
    /// What is to move, if anything. `limit` is the number of connections a core may have when others
    /// are brought to it; `idle` says how much of one processor the machine has not used, where it matters.
    pub(crate) fn look(
        &mut self,
        loads: &[CoreLoad],
        placement: Placement,
        limit: usize,
        idle: Option<Permille>,
    ) -> Option<Shift> {
        if idle.is_some_and(|idle| idle >= SPARE)
            && let Some(shift) = relief(loads)
        {
            self.calm_looks = 0;
            return Some(shift);
        }
        let gathering = match placement {
            Placement::Pack => gathering(loads, limit),
            Placement::Spread => None,
        };
        if gathering.is_none() {
            self.calm_looks = 0;
            return None;
        }
        self.calm_looks = self.calm_looks.saturating_add(1);
        gathering.filter(|_| self.calm_looks >= CALM_LOOKS)
    }
}

/// Whether what the machine has left decides anything.
pub(crate) fn is_hot(loads: &[CoreLoad]) -> bool {
    relief(loads).is_some()
}

/// The busiest core gives half of the difference to the one with the least to do.
fn relief(loads: &[CoreLoad]) -> Option<Shift> {
    let (from, hot) = loads.iter().enumerate().max_by_key(|(_, load)| load.busy)?;
    let (to, cool) = loads.iter().enumerate().min_by_key(|(_, load)| load.busy)?;
    let gap = hot.busy.saturating_sub(cool.busy);
    // One connection alone would only take the heat along.
    (hot.busy > HOT && gap > GAP && hot.connections > 1).then(|| Shift {
        from,
        to,
        // Less than a thousand, because the gap is not wider than the core is busy.
        share: u32::try_from(gap * 500 / hot.busy).unwrap_or_default(),
    })
}

/// The last core with work gives all of it to the first that can take it and is awake anyway.
fn gathering(loads: &[CoreLoad], limit: usize) -> Option<Shift> {
    let (from, last) = loads
        .iter()
        .enumerate()
        .rfind(|(_, load)| load.connections > 0 && load.busy > IDLE)?;
    let to = loads.iter().take(from).position(|load| {
        load.busy > IDLE
            && load.busy + last.busy < PACKED
            && load.connections + last.connections <= limit
    })?;
    Some(Shift {
        from,
        to,
        share: ALL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(busy: &[Permille]) -> Vec<CoreLoad> {
        busy.iter()
            .map(|busy| CoreLoad {
                busy: *busy,
                connections: 100,
            })
            .collect()
    }

    fn look(balancer: &mut Balancer, busy: &[Permille]) -> Option<Shift> {
        balancer.look(&loads(busy), Placement::Pack, 1_000, Some(1_000))
    }

    #[test]
    fn a_hot_core_gives_half_of_the_difference_to_the_coolest() {
        let shift = look(&mut Balancer::default(), &[900, 500, 100]);
        assert_eq!(
            shift,
            Some(Shift {
                from: 0,
                to: 2,
                share: 444
            })
        );
    }

    #[test]
    fn cores_that_are_all_hot_keep_what_they_have() {
        assert_eq!(look(&mut Balancer::default(), &[950, 900, 990]), None);
    }

    #[test]
    fn one_connection_alone_stays_where_it_is_hot() {
        let alone = CoreLoad {
            busy: 1_000,
            connections: 1,
        };
        let loads = [alone, CoreLoad::default()];
        let looked = Balancer::default().look(&loads, Placement::Pack, 1_000, Some(1_000));
        assert_eq!(looked, None);
    }

    #[test]
    fn where_no_processor_is_idle_a_hot_core_keeps_what_it_has() {
        for idle in [None, Some(0), Some(SPARE - 1)] {
            let looked =
                Balancer::default().look(&loads(&[900, 100]), Placement::Pack, 1_000, idle);
            assert_eq!(looked, None);
        }
    }

    #[test]
    fn little_work_is_brought_together_only_when_it_has_stayed_little() {
        let mut balancer = Balancer::default();
        for _ in 1..CALM_LOOKS {
            assert_eq!(look(&mut balancer, &[100, 0, 80]), None);
        }
        assert_eq!(
            look(&mut balancer, &[100, 0, 80]),
            Some(Shift {
                from: 2,
                to: 0,
                share: 1_000
            })
        );
        // A moment of work, and it begins anew.
        assert_eq!(look(&mut balancer, &[300, 0, 80]), None);
        assert_eq!(look(&mut balancer, &[100, 0, 80]), None);
    }

    #[test]
    fn a_core_that_has_its_share_of_connections_is_brought_no_more() {
        let mut balancer = Balancer::default();
        for _ in 0..10 {
            let looked = balancer.look(&loads(&[100, 80]), Placement::Pack, 199, None);
            assert_eq!(looked, None);
        }
    }

    #[test]
    fn cores_without_work_are_left_alone() {
        let mut balancer = Balancer::default();
        for _ in 0..10 {
            assert_eq!(look(&mut balancer, &[2, 3, 1]), None);
        }
    }

    #[test]
    fn who_wants_all_cores_used_is_not_gathered() {
        let mut balancer = Balancer::default();
        for _ in 0..10 {
            let looked = balancer.look(&loads(&[100, 80]), Placement::Spread, 1_000, None);
            assert_eq!(looked, None);
        }
    }

    #[test]
    fn a_core_gives_away_connections_with_the_work_it_was_asked_for_and_no_more() {
        let mut work = Work::default();
        let mut weights = [Weight::default(); 10];
        for units in [2, 3] {
            for weight in &mut weights {
                assert_eq!(work.turn(weight, units), None, "before anything was asked");
            }
            let share = if units == 3 { 400 } else { 0 };
            let look = work.look() + 1;
            work.begin(Order { look, to: 1, share });
        }
        // Each had 3 of 30 units; 12 may go.
        let goes = weights
            .iter_mut()
            .filter_map(|weight| work.turn(weight, 3))
            .count();
        assert_eq!(goes, 4);
    }

    #[test]
    fn a_connection_heavier_than_what_is_to_go_stays_and_lighter_ones_go() {
        let mut work = Work::default();
        let (mut heavy, mut light) = (Weight::default(), Weight::default());
        work.turn(&mut heavy, 90);
        work.turn(&mut light, 10);
        work.begin(Order {
            look: 1,
            to: 3,
            share: 200,
        });
        assert_eq!(work.turn(&mut heavy, 90), None);
        assert_eq!(work.turn(&mut light, 10), Some(3));
    }

    /// Any loads, looked at again and again while what was asked for is done, come to rest.
    #[test]
    fn moving_ends() {
        for seed in 0..500_u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut next = || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let count = 2 + usize::try_from(next() % 7).unwrap();
            let mut busy: Vec<Permille> = (0..count).map(|_| next() % 1_001).collect();
            let mut balancer = Balancer::default();
            let mut shifts = 0;
            for _ in 0..200 {
                if let Some(shift) = look(&mut balancer, &busy) {
                    shifts += 1;
                    let moved = busy[shift.from] * u64::from(shift.share) / 1_000;
                    busy[shift.from] -= moved;
                    busy[shift.to] += moved;
                }
            }
            assert!(shifts <= 3 * count, "{shifts} shifts of {count} cores");
            assert_eq!(look(&mut balancer, &busy), None, "{busy:?}");
        }
    }
}
