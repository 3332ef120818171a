//! Log groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_store::{Compare, Op, Txn};

use crate::records::{self, GroupRecord, Scope};
use crate::store::{Group, LogError, LogStore, locked};

/// Retentions that the service knows, in days.
const RETENTION_DAYS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// Most tags on one group.
const MAX_TAGS: usize = 50;

impl LogStore {
    /// Makes a group.
    ///
    /// # Errors
    /// [`LogError::GroupExists`], [`LogError::TooManyGroups`], [`LogError::Invalid`].
    pub async fn create_group(
        &self,
        scope: &Scope,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), LogError> {
        if name.to_ascii_lowercase().starts_with("aws/") {
            return Err(LogError::Invalid("Log groups starting with AWS/ are reserved for AWS.".to_owned()));
        }
        check_tags(&tags)?;
        let _changing = self.inner.changing.lock().await;
        {
            let groups = locked(&self.inner.groups);
            let groups = groups.get(scope);
            if groups.is_some_and(|groups| groups.contains_key(name)) {
                return Err(LogError::GroupExists { group: name.to_owned() });
            }
            let limit = self.inner.options.groups;
            if groups.is_some_and(|groups| groups.len() >= limit) {
                return Err(LogError::TooManyGroups { limit });
            }
        }
        let record = GroupRecord::new(self.inner.seams.random.hex32(), self.inner.seams.clock.now(), tags);
        let key = records::group_key(scope, name);
        let compares = vec![Compare::ModRevision(key.clone(), 0)];
        let created = self.commit(Txn { compares, ops: vec![Op::Put(key, records::encode(&record))] }).await?;
        let created = created.ok_or_else(|| LogError::GroupExists { group: name.to_owned() })?;
        let group = Arc::new(Group::new(created, record));
        locked(&self.inner.groups).entry(scope.clone()).or_default().insert(name.to_owned(), group);
        Ok(())
    }

    /// Deletes a group with all its streams and events.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`].
    pub async fn delete_group(&self, scope: &Scope, name: &str) -> Result<(), LogError> {
        let changing = self.inner.changing.lock().await;
        let group = self.group(scope, name)?;
        let id = group.id();
        let files = self.files(&group).await?;
        let ops = vec![Op::Delete(records::group_key(scope, name)), Op::Put(records::trash_key(&id), Vec::new())];
        self.commit(Txn { compares: vec![], ops }).await?;
        if let Some(groups) = locked(&self.inner.groups).get_mut(scope) {
            groups.remove(name);
        }
        locked(&self.inner.streams).forget_group(&id);
        drop(changing);
        // Whoever writes or follows it still finds it closed.
        files.log.close().await?;
        self.empty_trash().await
    }

    /// Names and records of the scope's groups from `after` (exclusive) on, by name.
    #[must_use]
    pub fn groups(&self, scope: &Scope, after: Option<&str>) -> Vec<(String, GroupRecord)> {
        let groups = locked(&self.inner.groups);
        let Some(groups) = groups.get(scope) else { return Vec::new() };
        let wanted = |name: &&String| after.is_none_or(|after| name.as_str() > after);
        let found = groups.iter().filter(|(name, _)| wanted(name));
        found.map(|(name, group)| (name.clone(), locked(&group.record).clone())).collect()
    }

    /// A group's record.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`].
    pub fn group_record(&self, scope: &Scope, name: &str) -> Result<GroupRecord, LogError> {
        Ok(locked(&self.group(scope, name)?.record).clone())
    }

    /// Bytes of a group's files.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::Files`].
    pub async fn stored_bytes(&self, scope: &Scope, name: &str) -> Result<u64, LogError> {
        let group = self.group(scope, name)?;
        Ok(self.files(&group).await?.log.bytes())
    }

    /// Sets how long events are kept, in days; `None` is the store's default.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`]; [`LogError::Invalid`] for a number of days that the service does not know.
    pub async fn set_retention(&self, scope: &Scope, name: &str, days: Option<u32>) -> Result<(), LogError> {
        if let Some(days) = days.filter(|days| !RETENTION_DAYS.contains(days)) {
            let known = RETENTION_DAYS.map(|days| days.to_string()).join(", ");
            return Err(LogError::Invalid(format!("Invalid retentionInDays: {days}. It must be one of [{known}]")));
        }
        self.change_group(scope, name, |record| {
            record.retention_in_days = days;
            Ok(())
        })
        .await
    }

    /// Adds tags, or gives them another value.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`], [`LogError::Invalid`].
    pub async fn tag_group(&self, scope: &Scope, name: &str, tags: BTreeMap<String, String>) -> Result<(), LogError> {
        self.change_group(scope, name, |record| {
            record.tags.extend(tags);
            check_tags(&record.tags)
        })
        .await
    }

    /// Takes tags away; keys that are not there are no error.
    ///
    /// # Errors
    /// [`LogError::GroupNotFound`].
    pub async fn untag_group(&self, scope: &Scope, name: &str, keys: &[String]) -> Result<(), LogError> {
        self.change_group(scope, name, |record| {
            record.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    async fn change_group(
        &self,
        scope: &Scope,
        name: &str,
        change: impl FnOnce(&mut GroupRecord) -> Result<(), LogError> + Send,
    ) -> Result<(), LogError> {
        let _changing = self.inner.changing.lock().await;
        let group = self.group(scope, name)?;
        let mut record = locked(&group.record).clone();
        change(&mut record)?;
        let key = records::group_key(scope, name);
        self.commit(Txn { compares: vec![], ops: vec![Op::Put(key, records::encode(&record))] }).await?;
        *locked(&group.record) = record;
        Ok(())
    }
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), LogError> {
    if tags.len() > MAX_TAGS {
        return Err(LogError::TooManyTags { limit: MAX_TAGS });
    }
    match tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        Some(key) => Err(LogError::Invalid(format!("The tag key '{key}' is reserved: keys may not begin with aws:"))),
        None => Ok(()),
    }
}
