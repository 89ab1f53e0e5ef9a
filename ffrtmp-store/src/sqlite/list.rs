//! Lists. One condition of the filter leads: its index gives the matching sequence numbers in
//! order, newest first, so that a page costs what it shows however many jobs there are. The other
//! conditions are tried on what it gives. Where several could lead, the one with the fewest jobs
//! does.

use ffrtmp_core::id::TenantId;
use ffrtmp_core::job::Job;
use ffrtmp_core::store::{JobFilter, Page};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::facet::Facet;
use super::fault::Fault;
use super::jobs::BLOCK_BITS;
use super::query;
use super::rows::{bounded, node_bytes};

pub(super) fn list(connection: &Connection, filter: &JobFilter, page: Page) -> Result<Vec<Job>, Fault> {
    // One moment for all statements; the writer's own connection has a transaction open.
    let _moment = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let Some(range) = Range::of(connection, filter, page)? else { return Ok(Vec::new()) };
    let lead = leading(connection, filter)?;
    let sequences = lead.sequences(connection, filter, range, page.limit)?;
    sequences.into_iter().map(|sequence| Ok(query::by_sequence(connection, sequence)?.record.job)).collect()
}

/// Sequence numbers that can pass, both ends included.
#[derive(Clone, Copy)]
struct Range {
    first: i64,
    last: i64,
}

impl Range {
    /// `None` if no job can pass.
    fn of(connection: &Connection, filter: &JobFilter, page: Page) -> Result<Option<Self>, Fault> {
        let last = page.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX).saturating_sub(1));
        let mut range = Self { first: 0, last };
        if let Some(after) = filter.created_after {
            let sql = "SELECT block FROM spans WHERE newest >= ?1 ORDER BY block LIMIT 1";
            let Some(block) = block(connection, sql, after.as_micros())? else { return Ok(None) };
            range.first = block << BLOCK_BITS;
        }
        if let Some(before) = filter.created_before {
            let sql = "SELECT block FROM spans WHERE oldest < ?1 ORDER BY block DESC LIMIT 1";
            let Some(block) = block(connection, sql, before.as_micros())? else { return Ok(None) };
            range.last = range.last.min(((block + 1) << BLOCK_BITS) - 1);
        }
        Ok((range.first <= range.last).then_some(range))
    }
}

fn block(connection: &Connection, sql: &str, at: i64) -> Result<Option<i64>, Fault> {
    Ok(connection.prepare_cached(sql)?.query_row([at], |row| row.get(0)).optional()?)
}

/// A condition whose index gives sequence numbers in order.
#[derive(Debug)]
enum Lead {
    Everything,
    Tenant(TenantId),
    Scenario(String),
    Label(String, String),
    Node([u8; 16]),
    /// Facets of jobs that wait and of jobs that ended.
    Facets(Vec<Facet>, Vec<Facet>),
}

/// Jobs that are counted to compare conditions.
const PROBE: i64 = 2000;

fn leading(connection: &Connection, filter: &JobFilter) -> Result<Lead, Fault> {
    let mut leads = Vec::new();
    for (key, value) in &filter.labels {
        leads.push(Lead::Label(key.clone(), value.clone()));
    }
    leads.extend(filter.node_id.map(|node| Lead::Node(node_bytes(node))));
    leads.extend(filter.scenario.clone().map(Lead::Scenario));
    leads.extend(filter.tenant.clone().filter(|tenant| *tenant != TenantId::single()).map(Lead::Tenant));
    if has_facets(filter) {
        let passing = |table| -> Result<Vec<Facet>, Fault> {
            Ok(facets(connection, table)?.into_iter().filter(|facet| facet.passes(filter)).collect())
        };
        leads.push(Lead::Facets(passing("pending")?, passing("ended")?));
    }
    if leads.len() < 2 {
        return Ok(leads.pop().unwrap_or(Lead::Everything));
    }
    let mut best = (i64::MAX, Lead::Everything);
    for lead in leads {
        let jobs = lead.probe(connection)?;
        if jobs < best.0 {
            best = (jobs, lead);
        }
    }
    Ok(best.1)
}

fn has_facets(filter: &JobFilter) -> bool {
    !filter.states.is_empty() || filter.queue.is_some() || filter.priority.is_some() || filter.classification.is_some()
}

/// The facets that a table has, one step of its index each.
fn facets(connection: &Connection, table: &str) -> Result<Vec<Facet>, Fault> {
    let sql = format!("SELECT facet FROM {table} WHERE facet > ?1 ORDER BY facet LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    let mut last = -1;
    while let Some(facet) = statement.query_row([last], |row| row.get(0)).optional()? {
        last = facet;
        found.push(Facet(facet));
    }
    Ok(found)
}

/// One ordered source of sequence numbers: a table with the column that numbers its jobs, and what
/// its index is asked for.
struct Source {
    table: &'static str,
    sequence: &'static str,
    condition: &'static str,
    values: Vec<Value>,
}

impl Lead {
    fn sources(&self) -> Vec<Source> {
        let source = |table, condition, values| Source { table, sequence: "sequence", condition, values };
        match self {
            Self::Everything => vec![source("jobs", "true", Vec::new())],
            Self::Tenant(tenant) => vec![source("jobs", "tenant = ?", vec![text(tenant.as_str())])],
            Self::Scenario(scenario) => vec![source("jobs", "scenario = ?", vec![text(scenario)])],
            Self::Label(key, value) => vec![Source {
                table: "labels",
                sequence: "job",
                condition: "key = ? AND value = ?",
                values: vec![text(key), text(value)],
            }],
            Self::Node(node) => ["active", "pending", "ended"]
                .map(|table| source(table, "node = ?", vec![Value::Blob(node.to_vec())]))
                .into(),
            Self::Facets(pending, ended) => {
                let of = |table| move |facet: &Facet| source(table, "facet = ?", vec![Value::Integer(facet.0)]);
                let mut sources = vec![source("active", "true", Vec::new())];
                sources.extend(pending.iter().map(of("pending")));
                sources.extend(ended.iter().map(of("ended")));
                sources
            }
        }
    }

    /// How many jobs it gives, counted up to [`PROBE`].
    fn probe(&self, connection: &Connection) -> Result<i64, Fault> {
        let mut jobs = 0;
        for Source { table, condition, values, .. } in self.sources() {
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT {PROBE})");
            let few: i64 = connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
            jobs += few;
        }
        Ok(jobs)
    }

    /// The newest that pass the whole filter.
    fn sequences(
        &self,
        connection: &Connection,
        filter: &JobFilter,
        range: Range,
        limit: usize,
    ) -> Result<Vec<u64>, Fault> {
        let mut sequences: Vec<u64> = Vec::new();
        for source in self.sources() {
            let (sql, values) = source.page(filter, self, range, limit);
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_map(params_from_iter(values), |row| row.get(0))?;
            for sequence in found {
                sequences.push(sequence?);
            }
        }
        sequences.sort_unstable_by(|a, b| b.cmp(a));
        sequences.truncate(limit);
        Ok(sequences)
    }
}

impl Source {
    /// The query for its newest jobs that pass the whole filter.
    fn page(self, filter: &JobFilter, lead: &Lead, range: Range, limit: usize) -> (String, Vec<Value>) {
        let Self { table, sequence, condition, values } = self;
        let mut rest = Conditions { clause: String::new(), values };
        rest.values.extend([Value::Integer(range.first), Value::Integer(range.last)]);
        rest.others(filter, lead, table);
        rest.values.push(Value::Integer(bounded(limit)));
        let asked = if table == "jobs" { "" } else { "CROSS JOIN jobs ON jobs.sequence = " };
        let of = if table == "jobs" { String::new() } else { format!("{table}.{sequence}") };
        let sql = format!(
            "SELECT {table}.{sequence} FROM {table} {asked}{of}
             WHERE {condition} AND {table}.{sequence} BETWEEN ? AND ?{}
             ORDER BY {table}.{sequence} DESC LIMIT ?",
            rest.clause,
        );
        (sql, rest.values)
    }
}

/// How SQLite goes about a list.
#[cfg(test)]
pub(super) fn plans(connection: &Connection, filter: &JobFilter) -> Result<Vec<String>, Fault> {
    let (lead, range) = (leading(connection, filter)?, Range { first: 0, last: i64::MAX });
    let explain = |source: Source| {
        let (sql, values) = source.page(filter, &lead, range, 50);
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let lines = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3))?;
        Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?.join("; "))
    };
    lead.sources().into_iter().map(explain).collect()
}

/// More of a `WHERE` clause, made of fixed fragments; every value is bound.
struct Conditions {
    clause: String,
    values: Vec<Value>,
}

impl Conditions {
    fn push(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.clause.push_str(" AND ");
        self.clause.push_str(condition);
        self.values.extend(values);
    }

    /// Everything that the lead does not see to.
    fn others(&mut self, filter: &JobFilter, lead: &Lead, table: &str) {
        if let Some(tenant) = &filter.tenant {
            let name = Some(tenant.as_str()).filter(|_| *tenant != TenantId::single());
            self.push("+jobs.tenant IS ?", [name.map_or(Value::Null, text)]);
        }
        if let Some(scenario) = filter.scenario.as_deref() {
            self.push("+jobs.scenario = ?", [text(scenario)]);
        }
        if let Some(after) = filter.created_after {
            self.push("+jobs.created_at >= ?", [Value::Integer(after.as_micros())]);
        }
        if let Some(before) = filter.created_before {
            self.push("+jobs.created_at < ?", [Value::Integer(before.as_micros())]);
        }
        for (key, value) in &filter.labels {
            if !matches!(lead, Lead::Label(led, _) if led == key) {
                let carried =
                    "EXISTS (SELECT 1 FROM labels AS l WHERE l.key = ? AND l.value = ? AND l.job = jobs.sequence)";
                self.push(carried, [text(key), text(value)]);
            }
        }
        if let Some(node) = filter.node_id.filter(|_| !matches!(lead, Lead::Node(_))) {
            self.push(&format!("{} = ?", standing("node", table)), [Value::Blob(node_bytes(node).to_vec())]);
        }
        self.facets(filter, lead, table);
    }

    fn facets(&mut self, filter: &JobFilter, lead: &Lead, table: &str) {
        let led = matches!(lead, Lead::Facets(..)) && table != "active";
        if led || !has_facets(filter) {
            return;
        }
        for (condition, codes) in Facet::conditions(filter, &standing("facet", table)) {
            self.push(&condition, codes.into_iter().map(Value::Integer));
        }
    }
}

/// A column of where a job stands, asked from a table that may be another one. The sign keeps its
/// index out of the way of the lead's.
fn standing(column: &str, table: &str) -> String {
    if matches!(table, "active" | "pending" | "ended") {
        return format!("+{table}.{column}");
    }
    let of = |table| format!("(SELECT {column} FROM {table} WHERE {table}.sequence = jobs.sequence)");
    format!("coalesce({}, {}, {})", of("ended"), of("pending"), of("active"))
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}
