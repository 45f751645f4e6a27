pub(crate) mod authority;
pub(crate) mod material;
pub(crate) mod raw;
pub(crate) mod secrets;
pub(crate) mod site;
pub(crate) mod tools;
