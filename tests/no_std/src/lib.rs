//! A program has one panic handler. This is it; std would bring another, and the compiler would refuse both.
#![no_std]
#![forbid(unsafe_code)]

pub use {ntproto_core, ntproto_hub};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
