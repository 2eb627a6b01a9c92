//! Certificates that will soon be worth nothing: said by the running gateway, too.
//!
//! In: the documents that hold, the clock. Out: notices on the board, and a line of log for each, at most once a day.
//! Invariant: it only reads and tells; a renewed file ends its notice within the hour.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::gateway::board::Board;
use crate::gateway::line::Orders;
use crate::site::certificates::endings;

/// Files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// What stays is logged anew this often.
const LOG_EVERY: Duration = Duration::from_secs(86_400);

/// Looks for ever, also when other documents come.
pub(crate) async fn watch(board: Arc<Board>, clock: Arc<dyn Clock>, mut orders: watch::Receiver<Orders>) {
    let mut logged: Vec<(String, Timestamp)> = Vec::new();
    loop {
        let site = Arc::clone(&orders.borrow_and_update().site);
        let now = clock.now();
        let texts: Vec<String> = endings(&site, now).into_iter().map(|ending| ending.text).collect();
        logged.retain(|(_, at)| *at <= now && now.since(*at) < LOG_EVERY);
        for text in &texts {
            // The days that are left are told with it, so a notice is another one each day.
            if !logged.iter().any(|(known, _)| known == text) {
                tracing::warn!("{text}");
                logged.push((text.clone(), now));
            }
        }
        board.notices(texts);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = changed(&mut orders, &site) => {}
        }
    }
}

/// Ends when other documents hold.
async fn changed(orders: &mut watch::Receiver<Orders>, site: &Arc<crate::site::Site>) {
    if orders.wait_for(|orders| !Arc::ptr_eq(&orders.site, site)).await.is_err() {
        std::future::pending::<()>().await;
    }
}
