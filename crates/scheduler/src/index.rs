//! The container instances of a cluster, arranged so that placing a task looks at few of them.
//!
//! Instances that are alike in everything that a constraint on attributes can ask form one class,
//! so that such a constraint is answered once for all of them. In each class instances are ordered by what
//! they have left, and each group's tasks are counted by class. A chain of strategies is then the
//! lexicographic minimum of its costs, found by walking these orders from the cheap end.
//!
//! Quality is that of [`place`](crate::place()): what is chosen is always one of the instances that
//! the plain search would choose from.

use std::collections::{BTreeMap, BTreeSet};

use longshore_seams::Random;

use crate::placement::{Assignment, Constraint, Placement, Refused, Request, accepts, has_attribute, refusals};
use crate::strategy::{BinpackField, SpreadField, Strategy};
use crate::{Attribute, Node};

type ClassId = usize;

/// What instances of a class have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    active: bool,
    agent_connected: bool,
    agent_version: Option<String>,
    attributes: BTreeMap<String, Option<String>>,
}

#[derive(Debug)]
struct Class<K> {
    /// An instance like all of them, with nothing left and no tasks.
    example: Node,
    /// In no order; an entry knows its place.
    members: Vec<K>,
    by_cpu: Levels<K>,
    by_memory: Levels<K>,
}

/// Instances by what they have left of a resource.
type Levels<K> = BTreeMap<i64, BTreeSet<K>>;

fn remove_level<K: Ord>(levels: &mut Levels<K>, left: i64, key: &K) {
    if let Some(level) = levels.get_mut(&left) {
        level.remove(key);
        if level.is_empty() {
            levels.remove(&left);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    class: ClassId,
    place: usize,
    cpu: i64,
    memory: i64,
}

/// The tasks of one group.
#[derive(Debug)]
struct Group<K> {
    counts: BTreeMap<K, u32>,
    /// Instances with at least one, by class and number.
    tiers: BTreeMap<(ClassId, u32), BTreeSet<K>>,
    /// Tasks and instances with at least one, by class.
    totals: BTreeMap<ClassId, (u64, usize)>,
}

#[expect(clippy::disallowed_types, reason = "looked up with every change of a task; nothing goes by their order")]
type Groups<K> = std::collections::HashMap<String, Group<K>>;

/// An index over instances called by `K`. The nodes themselves stay with their owner, who tells of
/// every change.
#[derive(Debug)]
pub struct Index<K> {
    entries: BTreeMap<K, Entry>,
    kinds: BTreeMap<Kind, ClassId>,
    classes: BTreeMap<ClassId, Class<K>>,
    groups: Groups<K>,
    next_class: ClassId,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            kinds: BTreeMap::new(),
            classes: BTreeMap::new(),
            groups: Groups::new(),
            next_class: 0,
        }
    }
}

impl<K: Copy + Ord> Group<K> {
    fn set(&mut self, key: K, class: ClassId, count: u32) {
        let before = if count == 0 { self.counts.remove(&key) } else { self.counts.insert(key, count) };
        let before = before.unwrap_or(0);
        if before > 0
            && let Some(tier) = self.tiers.get_mut(&(class, before))
        {
            tier.remove(&key);
            if tier.is_empty() {
                self.tiers.remove(&(class, before));
            }
        }
        if count > 0 {
            self.tiers.entry((class, count)).or_default().insert(key);
        }
        let total = self.totals.entry(class).or_default();
        total.0 = total.0 + u64::from(count) - u64::from(before);
        total.1 = total.1 + usize::from(count > 0) - usize::from(before > 0);
        if total.1 == 0 {
            self.totals.remove(&class);
        }
    }
}

impl<K: Copy + Ord> Index<K> {
    /// Number of instances.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an `ACTIVE` instance has all of `attributes`.
    #[must_use]
    pub fn has_active(&self, attributes: &[Attribute]) -> bool {
        let fits = |class: &Class<K>| {
            class.example.active && attributes.iter().all(|wanted| has_attribute(&class.example, wanted))
        };
        self.classes.values().any(fits)
    }

    /// The instance called `key` came, or something of it changed but the tasks on it: those
    /// [`Self::put_group`] tells.
    pub fn put(&mut self, key: K, node: &Node) {
        let known = self.entries.get(&key).map(|entry| entry.class);
        if known.and_then(|known| self.classes.get(&known)).is_some_and(|class| is_alike(&class.example, node)) {
            return self.put_books(key, node);
        }
        if known.is_some() {
            for group in node.groups.keys() {
                self.put_group(key, group, 0);
            }
            self.take_out(key);
        }
        let class = self.class_of(node);
        let (cpu, memory) = (node.remaining.cpu, node.remaining.memory);
        if let Some(of) = self.classes.get_mut(&class) {
            self.entries.insert(key, Entry { class, place: of.members.len(), cpu, memory });
            of.members.push(key);
            of.by_cpu.entry(cpu).or_default().insert(key);
            of.by_memory.entry(memory).or_default().insert(key);
        }
        for (group, count) in &node.groups {
            self.put_group(key, group, *count);
        }
    }

    /// What the instance called `key` has left changed.
    pub fn put_books(&mut self, key: K, node: &Node) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(class) = self.classes.get_mut(&entry.class) else { return };
        let (cpu, memory) = (node.remaining.cpu, node.remaining.memory);
        if entry.cpu != cpu {
            remove_level(&mut class.by_cpu, entry.cpu, &key);
            class.by_cpu.entry(cpu).or_default().insert(key);
            entry.cpu = cpu;
        }
        if entry.memory != memory {
            remove_level(&mut class.by_memory, entry.memory, &key);
            class.by_memory.entry(memory).or_default().insert(key);
            entry.memory = memory;
        }
    }

    /// The instance called `key` has `count` tasks of `group` now.
    pub fn put_group(&mut self, key: K, group: &str, count: u32) {
        let Some(class) = self.entries.get(&key).map(|entry| entry.class) else { return };
        match self.groups.get_mut(group) {
            Some(known) => {
                known.set(key, class, count);
                if known.counts.is_empty() {
                    self.groups.remove(group);
                }
            }
            None if count > 0 => {
                let mut new = Group { counts: BTreeMap::new(), tiers: BTreeMap::new(), totals: BTreeMap::new() };
                new.set(key, class, count);
                self.groups.insert(group.to_owned(), new);
            }
            None => {}
        }
    }

    /// The instance called `key` is gone.
    pub fn remove(&mut self, key: K) {
        let holds = |group: &&Group<K>| group.counts.contains_key(&key);
        let of: Vec<String> =
            self.groups.iter().filter(|(_, group)| holds(group)).map(|(name, _)| name.clone()).collect();
        for group in of {
            self.put_group(key, &group, 0);
        }
        self.take_out(key);
    }

    fn take_out(&mut self, key: K) {
        let Some(entry) = self.entries.remove(&key) else { return };
        let Some(class) = self.classes.get_mut(&entry.class) else { return };
        remove_level(&mut class.by_cpu, entry.cpu, &key);
        remove_level(&mut class.by_memory, entry.memory, &key);
        class.members.swap_remove(entry.place);
        if let Some(moved) = class.members.get(entry.place)
            && let Some(moved) = self.entries.get_mut(moved)
        {
            moved.place = entry.place;
        }
        if class.members.is_empty()
            && let Some(class) = self.classes.remove(&entry.class)
        {
            self.kinds.remove(&Kind::of(&class.example));
        }
    }

    fn class_of(&mut self, node: &Node) -> ClassId {
        let kind = Kind::of(node);
        if let Some(known) = self.kinds.get(&kind) {
            return *known;
        }
        let id = self.next_class;
        self.next_class += 1;
        let example = Node {
            active: kind.active,
            agent_connected: kind.agent_connected,
            agent_version: kind.agent_version.clone(),
            attributes: kind.attributes.clone(),
            ..Node::default()
        };
        self.kinds.insert(kind, id);
        let (by_cpu, by_memory) = (Levels::new(), Levels::new());
        self.classes.insert(id, Class { example, members: Vec::new(), by_cpu, by_memory });
        id
    }

    /// Places up to `count` tasks, one after another, each seeing those before it; `node` answers
    /// the instance called so. As [`place`](crate::place()) does, but without looking at every instance.
    pub fn place<'n>(
        &self,
        request: &Request,
        count: usize,
        random: &dyn Random,
        node: impl Fn(K) -> &'n Node,
    ) -> Placement<K> {
        let mut search = self.search(request, random, &node);
        let mut placement = Placement::default();
        for _ in 0..count {
            let Some(chosen) = search.next() else {
                let refusals = |key: &K| match search.changed.contains_key(key) {
                    true => refusals(&search.whole(*key), request),
                    false => refusals(node(*key), request),
                };
                let all = self.entries.keys();
                placement.refused = all.map(|key| Refused { node: *key, refusals: refusals(key) }).collect();
                break;
            };
            let gpus = search.take(chosen);
            placement.assignments.push(Assignment { node: chosen, gpus });
        }
        placement
    }

    /// Whether some instance takes a task; cheaper than [`Self::place`] when none does, for nobody is asked why.
    pub fn has_room<'n>(&self, request: &Request, random: &dyn Random, node: impl Fn(K) -> &'n Node) -> bool {
        self.search(request, random, &node).next().is_some()
    }

    fn search<'s, 'n: 's, N: Fn(K) -> &'n Node>(
        &'s self,
        request: &'s Request,
        random: &'s dyn Random,
        node: &'s N,
    ) -> Search<'s, K, N> {
        let mut search = Search {
            index: self,
            request,
            random,
            chain: request.strategies.iter().filter(|strategy| **strategy != Strategy::Random).collect(),
            group: self.groups.get(&request.group),
            node,
            of_instance: of_instance(request),
            eligible: eligible_classes(&self.classes, request),
            changed: BTreeMap::new(),
            spread: BTreeMap::new(),
        };
        search.spread = search.spread();
        search
    }
}

impl Kind {
    fn of(node: &Node) -> Self {
        Self {
            active: node.active,
            agent_connected: node.agent_connected,
            agent_version: node.agent_version.clone(),
            attributes: node.attributes.clone(),
        }
    }
}

/// Whether both are of one [`Kind`].
fn is_alike(one: &Node, other: &Node) -> bool {
    one.active == other.active
        && one.agent_connected == other.agent_connected
        && one.agent_version == other.agent_version
        && one.attributes == other.attributes
}

/// The classes that no constraint on attributes excludes. Resources and what differs inside a class are asked of
/// each instance.
fn eligible_classes<K>(classes: &BTreeMap<ClassId, Class<K>>, request: &Request) -> Vec<ClassId> {
    let is_static =
        |constraint: &&Constraint| matches!(constraint, Constraint::MemberOf(query) if query.is_about_class());
    let of_class = Request {
        attributes: request.attributes.clone(),
        constraints: request.constraints.iter().filter(is_static).cloned().collect(),
        zones: request.zones.clone(),
        lent: request.lent,
        ..Request::default()
    };
    classes.iter().filter(|(_, class)| accepts(&class.example, &of_class)).map(|(id, _)| *id).collect()
}

/// What is left to ask of an instance of an eligible class.
fn of_instance(request: &Request) -> Request {
    let is_static =
        |constraint: &&Constraint| matches!(constraint, Constraint::MemberOf(query) if query.is_about_class());
    Request {
        demand: request.demand.clone(),
        constraints: request.constraints.iter().filter(|it| !is_static(it)).cloned().collect(),
        group: request.group.clone(),
        lent: request.lent,
        ..Request::default()
    }
}

/// Tasks of the group by value of an attribute.
#[derive(Debug)]
struct Spread {
    value_of: BTreeMap<ClassId, usize>,
    counts: Vec<u64>,
}

impl Spread {
    fn of(&self, class: ClassId) -> u64 {
        self.value_of.get(&class).map_or(0, |value| self.counts[*value])
    }
}

/// One call: the index, and what the tasks placed so far have changed.
struct Search<'s, K, N> {
    index: &'s Index<K>,
    request: &'s Request,
    random: &'s dyn Random,
    /// The strategies without `random`, which costs nothing.
    chain: Vec<&'s Strategy>,
    group: Option<&'s Group<K>>,
    node: &'s N,
    eligible: Vec<ClassId>,
    /// What an instance of an eligible class is still asked.
    of_instance: Request,
    /// Instances that got a task: out of the index's sight. Without attributes, unless they are asked for.
    changed: BTreeMap<K, Node>,
    /// By name of the attribute.
    spread: BTreeMap<&'s str, Spread>,
}

impl<'s, 'n: 's, K: Copy + Ord, N: Fn(K) -> &'n Node> Search<'s, K, N> {
    /// The instance as it is after the tasks placed so far.
    fn now(&self, key: K) -> &Node {
        self.changed.get(&key).unwrap_or_else(|| (self.node)(key))
    }

    /// The same with everything that the owner knows of it.
    fn whole(&self, key: K) -> Node {
        let whole = (self.node)(key).clone();
        match self.changed.get(&key) {
            Some(now) => Node { remaining: now.remaining.clone(), groups: now.groups.clone(), ..whole },
            None => whole,
        }
    }

    /// The same to be changed, without what takes long to copy and is not asked for.
    fn copy(&self, key: K) -> Node {
        let now = self.now(key);
        if self.of_instance.constraints.iter().any(|it| matches!(it, Constraint::MemberOf(_))) {
            return now.clone();
        }
        Node {
            active: now.active,
            agent_connected: now.agent_connected,
            remaining: now.remaining.clone(),
            groups: now.groups.clone(),
            ..Node::default()
        }
    }

    fn class(&self, id: ClassId) -> &'s Class<K> {
        // Ids come from the index itself, which does not change during a search.
        &self.index.classes[&id]
    }

    /// Whether an instance that the index still sees right takes a task.
    fn fits(&self, key: K) -> bool {
        !self.changed.contains_key(&key) && accepts((self.node)(key), &self.of_instance)
    }

    fn spread(&self) -> BTreeMap<&'s str, Spread> {
        let mut all = BTreeMap::new();
        for strategy in &self.chain {
            let Strategy::Spread(SpreadField::Attribute(name)) = strategy else { continue };
            let mut values: BTreeMap<Option<&str>, usize> = BTreeMap::new();
            let mut spread = Spread { value_of: BTreeMap::new(), counts: Vec::new() };
            for (id, class) in &self.index.classes {
                let next = values.len();
                let value = *values.entry(attribute(&class.example.attributes, name)).or_insert(next);
                if value == next {
                    spread.counts.push(0);
                }
                spread.value_of.insert(*id, value);
                let there = self.group.and_then(|group| group.totals.get(id)).map_or(0, |total| total.0);
                // What runs on an instance that is being drained is on its way to another.
                spread.counts[value] += if class.example.active { there } else { 0 };
            }
            all.insert(name.as_str(), spread);
        }
        all
    }

    /// The best instance for the next task.
    fn next(&self) -> Option<K> {
        let untouched = self.best_of(&self.eligible, &self.chain);
        let touched = self.changed.iter().filter(|(_, node)| accepts(node, &self.of_instance)).map(|(key, _)| *key);
        // Few instances have changed: they are compared by their costs.
        let mut best: Vec<K> = Vec::new();
        let mut lowest: Option<Vec<i64>> = None;
        for key in untouched.into_iter().chain(touched) {
            let costs = self.costs(&self.chain, key);
            match &lowest {
                Some(known) if costs > *known => {}
                Some(known) if costs == *known => best.push(key),
                _ => {
                    best = vec![key];
                    lowest = Some(costs);
                }
            }
        }
        self.pick(&best)
    }

    fn pick(&self, among: &[K]) -> Option<K> {
        let pick = usize::try_from(self.random.below(among.len() as u64)).unwrap_or(0);
        among.get(pick).copied()
    }

    fn costs(&self, chain: &[&Strategy], key: K) -> Vec<i64> {
        let node = self.now(key);
        let class = self.index.entries.get(&key).map(|entry| entry.class);
        let cost = |strategy: &&Strategy| match strategy {
            Strategy::Random => 0,
            Strategy::Spread(SpreadField::Instance) => i64::from(node.tasks_in(&self.request.group)),
            Strategy::Spread(SpreadField::Attribute(name)) => {
                let spread = self.spread.get(name.as_str()).zip(class);
                spread.map_or(0, |(spread, class)| i64::try_from(spread.of(class)).unwrap_or(i64::MAX))
            }
            Strategy::Binpack(BinpackField::Cpu) => node.remaining.cpu,
            Strategy::Binpack(BinpackField::Memory) => node.remaining.memory,
        };
        chain.iter().map(cost).collect()
    }

    /// The best of the instances of `classes` that have not changed, under what is left of the chain.
    fn best_of(&self, classes: &[ClassId], chain: &[&Strategy]) -> Option<K> {
        let Some((first, rest)) = chain.split_first() else { return self.any(classes) };
        match first {
            Strategy::Random => self.best_of(classes, rest),
            Strategy::Spread(SpreadField::Attribute(name)) => {
                let spread = self.spread.get(name.as_str())?;
                let mut tiers: BTreeMap<u64, Vec<ClassId>> = BTreeMap::new();
                for id in classes {
                    tiers.entry(spread.of(*id)).or_default().push(*id);
                }
                tiers.values().find_map(|tier| self.best_of(tier, rest))
            }
            Strategy::Spread(SpreadField::Instance) => self.least_peers(classes, rest),
            Strategy::Binpack(field) => self.tightest(classes, *field, rest),
        }
    }

    /// Any instance that fits: a walk from a random one, in a random class.
    fn any(&self, classes: &[ClassId]) -> Option<K> {
        let total: usize = classes.iter().map(|id| self.class(*id).members.len()).sum();
        let mut start = usize::try_from(self.random.below(total as u64)).unwrap_or(0);
        let first = classes.iter().position(|id| {
            let length = self.class(*id).members.len();
            let here = start < length;
            if !here {
                start -= length;
            }
            here
        })?;
        // Every class once, the first from its random member on, and at last what was left of it.
        let (before, from) = self.class(classes[first]).members.split_at(start);
        let others = classes[first + 1..].iter().chain(&classes[..first]).flat_map(|id| &self.class(*id).members);
        from.iter().chain(others).chain(before).copied().find(|key| self.fits(*key))
    }

    /// The fitting instance with the least left of a resource.
    fn tightest(&self, classes: &[ClassId], field: BinpackField, rest: &[&Strategy]) -> Option<K> {
        let levels = |id: &ClassId| match field {
            BinpackField::Cpu => &self.class(*id).by_cpu,
            BinpackField::Memory => &self.class(*id).by_memory,
        };
        let wanted = match field {
            BinpackField::Cpu => self.request.demand.cpu,
            BinpackField::Memory => self.request.demand.memory_mib,
        };
        // A demand of nothing fits an instance that has less than nothing left.
        let least = if wanted > 0 { wanted } else { i64::MIN };
        let mut lowest: Option<(i64, Vec<ClassId>)> = None;
        for id in classes {
            let found = levels(id).range(least..).find(|(_, keys)| keys.iter().any(|key| self.fits(*key)));
            let Some((left, _)) = found else { continue };
            match &mut lowest {
                Some((known, _)) if *left > *known => {}
                Some((known, of)) if *left == *known => of.push(*id),
                _ => lowest = Some((*left, vec![*id])),
            }
        }
        let (left, classes) = lowest?;
        if !rest.is_empty() {
            let equal = classes.iter().filter_map(|id| levels(id).get(&left)).flatten();
            return self.plain(equal.copied().filter(|key| self.fits(*key)).collect(), rest);
        }
        let pick = usize::try_from(self.random.below(classes.len() as u64)).unwrap_or(0);
        let id = classes.get(pick)?;
        // From a random one on, so that equals are not taken in the order of their ids.
        let (start, level) = (self.rotated(*id).next()?, levels(id).get(&left)?);
        level.range(start..).chain(level.range(..start)).copied().find(|key| self.fits(*key))
    }

    /// The fitting instance with the fewest tasks of the group.
    fn least_peers(&self, classes: &[ClassId], rest: &[&Strategy]) -> Option<K> {
        let occupied = |id: &ClassId| self.group.and_then(|group| group.totals.get(id)).map_or(0, |total| total.1);
        let has_none = |key: &K| !self.group.is_some_and(|group| group.counts.contains_key(key));
        let bare = classes.iter().filter(|id| self.class(**id).members.len() > occupied(id));
        let mut bare = bare.flat_map(|id| self.rotated(*id)).filter(has_none).filter(|key| self.fits(*key));
        if rest.is_empty() {
            if let Some(found) = bare.next() {
                return Some(found);
            }
        } else {
            let all: Vec<K> = bare.collect();
            if !all.is_empty() {
                return self.plain(all, rest);
            }
        }
        let group = self.group?;
        let mut tiers: BTreeMap<u32, Vec<&BTreeSet<K>>> = BTreeMap::new();
        for id in classes {
            for ((_, count), keys) in group.tiers.range((*id, 0)..=(*id, u32::MAX)) {
                tiers.entry(*count).or_default().push(keys);
            }
        }
        tiers.values().find_map(|sets| {
            let mut fitting = sets.iter().flat_map(|keys| keys.iter()).copied().filter(|key| self.fits(*key));
            if rest.is_empty() { fitting.next() } else { self.plain(fitting.collect(), rest) }
        })
    }

    /// The members of a class from a random one on, round to the one before.
    fn rotated(&self, id: ClassId) -> impl Iterator<Item = K> {
        let members = &self.class(id).members;
        let start = usize::try_from(self.random.below(members.len() as u64)).unwrap_or(0);
        let (before, from) = members.split_at(start.min(members.len()));
        from.iter().chain(before).copied()
    }

    /// The plain search among a few.
    fn plain(&self, mut candidates: Vec<K>, chain: &[&Strategy]) -> Option<K> {
        let lowest = candidates.iter().map(|key| self.costs(chain, *key)).min()?;
        candidates.retain(|key| self.costs(chain, *key) == lowest);
        self.pick(&candidates)
    }

    /// Puts a task on the instance called `key`.
    fn take(&mut self, key: K) -> Vec<String> {
        let mut node = self.copy(key);
        let gpus = node.remaining.take(&self.request.demand);
        match node.groups.get_mut(&self.request.group) {
            Some(count) => *count += 1,
            None => {
                node.groups.insert(self.request.group.clone(), 1);
            }
        }
        if node.active
            && let Some(entry) = self.index.entries.get(&key)
        {
            for spread in self.spread.values_mut() {
                if let Some(value) = spread.value_of.get(&entry.class) {
                    spread.counts[*value] += 1;
                }
            }
        }
        self.changed.insert(key, node);
        gpus
    }
}

fn attribute<'a>(attributes: &'a BTreeMap<String, Option<String>>, name: &str) -> Option<&'a str> {
    attributes.get(name).map(|value| value.as_deref().unwrap_or(""))
}

#[cfg(test)]
mod tests;
