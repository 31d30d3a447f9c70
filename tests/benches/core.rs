//! What a message and a handshake cost in memory, beside the peers: absolute figures, and their change
//! since the last run. For ratios against the bars see `ratios`, which interleaves the sides.
//!
//! `cargo bench -p ntproto-tests --bench core`
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod core_sides;

use std::hint::black_box;
use std::time::Duration;

use core_sides::message;
use core_sides::ours::{Handshake, Sealed, frame_codec};
use core_sides::peers::{Snow, Tls, TokioUtil, snow_handshake, snow_pair, tls_configs};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use rustls::crypto::{aws_lc_rs, ring};

const OURS: [(&str, &dyn CryptoProvider); 2] =
    [("ntproto-rustcrypto", &RUSTCRYPTO), ("ntproto-awslc", &AWS_LC)];

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    for size in [64, 256, 1024] {
        let message = message(size);
        let mut scratch = Vec::new();
        group.throughput(Throughput::Elements(1));
        for (name, provider) in OURS {
            let mut ours = Sealed::new(provider);
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| ours.protobuf(black_box(&message), 1));
            });
        }
        for (name, provider) in
            [("rustls-ring", ring::default_provider()), ("rustls-awslc", aws_lc_rs::default_provider())]
        {
            let mut tls = Tls::handshake(&tls_configs(provider));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| tls.protobuf(black_box(&message), &mut scratch));
            });
        }
        let mut snow = Snow::new();
        group.bench_function(BenchmarkId::new("snow-prost", size), |b| {
            b.iter(|| snow.protobuf(black_box(&message), &mut scratch));
        });
        let (mut ours, body) = (Sealed::new(&AWS_LC), vec![7; size]);
        group.bench_function(BenchmarkId::new("ntproto-awslc-without-protobuf", size), |b| {
            b.iter(|| ours.bytes(black_box(&body), 1));
        });
        group.throughput(Throughput::Elements(16));
        let mut ours = Sealed::new(&AWS_LC);
        group.bench_function(BenchmarkId::new("ntproto-awslc-16-together", size), |b| {
            b.iter(|| ours.protobuf(black_box(&message), 16));
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for size in [64, 1024] {
        let payload = vec![7; size];
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("ntproto-frame", size), |b| {
            b.iter(|| frame_codec(&payload, &mut out));
        });
        let mut theirs = TokioUtil::new(&payload);
        group.bench_function(BenchmarkId::new("tokio-util", size), |b| b.iter(|| theirs.frame()));
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.measurement_time(Duration::from_secs(4));
    for (name, provider) in OURS {
        let mut ours = Handshake::new(provider);
        group.bench_function(name, |b| b.iter(|| ours.run()));
    }
    for (name, provider) in
        [("rustls-ring", ring::default_provider()), ("rustls-awslc", aws_lc_rs::default_provider())]
    {
        let configs = tls_configs(provider);
        group.bench_function(name, |b| b.iter(|| Tls::handshake(black_box(&configs))));
    }
    group.bench_function("snow", |b| {
        b.iter_batched(snow_pair, snow_handshake, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = messages, codec, handshakes
}
criterion_main!(benches);
