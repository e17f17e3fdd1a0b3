//! What delivery tells an operator on the way, named. Without the feature `alerts`
//! nothing is delivered, and the names are there all the same.

use crate::coded::{self, coded};

coded! {
    /// What a message about alerts is about: the name in brackets behind it.
    enum Notice;

    /// An alert cannot be delivered, ever, by this process.
    NoDelivery = "alert_no_delivery",
    /// A delivery failed, and is tried again.
    NotDelivered = "alert_not_delivered",
    /// Deliveries work again.
    Again = "alert_delivered_again",
    /// A delivery failed for good.
    GivenUp = "alert_given_up",
    /// What was delivered could not be noted.
    NotNoted = "alert_not_noted",
    /// The journal was damaged and has been set aside.
    JournalSetAside = "alert_journal_set_aside",
    /// Records cannot be looked at; it is tried again.
    NotLooking = "alert_records_unreadable",
    /// Records are looked at again.
    LookingAgain = "alert_records_read_again",
    /// Records are gone, damaged, or the log is shorter than what was looked at.
    Missed = "alert_records_missed",
    /// A change of health could not be stored yet.
    HealthWaits = "alert_health_waits",
}

impl Notice {
    /// The message with its name: `… [alert_given_up]`.
    #[must_use]
    pub fn says(self, text: &str) -> String {
        coded::says(text, self.code())
    }
}
