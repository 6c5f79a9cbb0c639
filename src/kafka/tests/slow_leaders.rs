//! Leaders of many partitions are ready one after the other, and the administration waits for them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::kafka::Admin;
use crate::kafka::wire::tests::support::{
    FakeBroker, LIST_OFFSETS, METADATA, metadata, own_port, partition, ready_below, settings,
    versions,
};

/// The time of a request begins anew with each partition that is answered, of which the whole takes more than the four seconds that it has.
#[tokio::test(flavor = "multi_thread")]
async fn the_administration_waits_for_leaders_one_after_the_other() {
    let (port, own) = own_port();
    let began = Instant::now();
    let broker = FakeBroker::start(move |request| match request.api {
        METADATA => metadata(&[own.load(Relaxed)], &[(1, 3); 5]),
        LIST_OFFSETS => {
            let ready = began.elapsed().as_millis() / 1_500;
            ready_below(request, i32::try_from(ready).unwrap())
        }
        _ => versions(request),
    })
    .await;
    port.store(broker.port, Relaxed);
    let settings = settings(&broker.address(), Duration::from_secs(4), &[]);
    let asked = tokio::task::spawn_blocking(move || {
        let partitions = [0, 1, 2, 3, 4].map(partition);
        Admin::connect(&settings)?.offsets(&partitions)
    });
    let offsets = asked.await.unwrap().unwrap();
    for number in 0..5 {
        assert_eq!(offsets.get(&partition(number)).unwrap().high_watermark, 41);
    }
    assert!(began.elapsed() >= Duration::from_secs(6));
}
