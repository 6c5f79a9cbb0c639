//! A broker on a thread of its own, with one partition, whose log is the same batches again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::time::Duration;

use kbk_format::batch::RecordBatches;
use tokio::sync::oneshot;

use super::fetching::asked;
use super::support::{
    EPOCHS, FETCH, FakeBroker, METADATA, Reply, epoch_end, fetched, metadata, own_port, settings,
    versions,
};
use crate::kafka::settings::ClientSettings;

/// The broker. It ends when this is dropped.
pub(crate) struct EndlessLog {
    address: String,
    _stop: oneshot::Sender<()>,
}

impl EndlessLog {
    /// The topic, whose partition is 0.
    pub(crate) const TOPIC: &str = super::support::TOPIC;

    /// Starts a broker each of whose responses has these batches, of offsets from 0 to `offsets`, moved to the offset that was asked for.
    pub(crate) fn start(batches: Vec<u8>, offsets: i64) -> EndlessLog {
        let (send_address, address) = channel();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let (port, own) = own_port();
                let batches = Arc::new(batches);
                let broker = FakeBroker::start(move |request| match request.api {
                    METADATA => metadata(&[own.load(Relaxed)], &[(1, 3)]),
                    FETCH => moved(&batches, asked(request), offsets),
                    EPOCHS => epoch_end(3, i64::MAX),
                    _ => versions(request),
                })
                .await;
                port.store(broker.port, Relaxed);
                send_address.send(broker.address()).unwrap();
                // The sender is dropped with the log.
                let _ = stopped.await;
            });
        });
        EndlessLog {
            address: address.recv().unwrap(),
            _stop: stop,
        }
    }

    /// Returns how to connect.
    pub(crate) fn settings(&self) -> ClientSettings {
        settings(&self.address, Duration::from_secs(30), &[])
    }
}

fn moved(batches: &[u8], first: i64, offsets: i64) -> Reply {
    assert_eq!(first % offsets, 0, "a response was read in part");
    let mut bytes = batches.to_vec();
    let starts: Vec<(usize, i64)> = RecordBatches::new(batches, 0)
        .map(|batch| batch.unwrap())
        .map(|batch| (batch.position() as usize, batch.header().base_offset))
        .collect();
    for (at, offset) in starts {
        // Outside of the checksum.
        bytes[at..at + 8].copy_from_slice(&(first + offset).to_be_bytes());
    }
    fetched(0, &[(0, 0, &bytes)])
}
