//! Refused modifications in the protocol's words.

use openflow::error::*;
use tables::Refused;

/// The protocol's error for a modification that the tables refused.
pub(crate) fn of_error(refused: Refused) -> OfError {
    match refused {
        Refused::NoSuchTable(_) => OFPFMFC_BAD_TABLE_ID,
        Refused::TableFull(_) | Refused::LearnLimit(_) => OFPFMFC_TABLE_FULL,
        Refused::Overlap(_) => OFPFMFC_OVERLAP,
        Refused::BadGoto { .. } => OFPBIC_BAD_TABLE_ID,
        Refused::BadOutPort(_) => OFPBAC_BAD_OUT_PORT,
        Refused::NoSuchGroupInAction(_) => OFPBAC_BAD_OUT_GROUP,
        Refused::NoSuchMeterInFlow(_) | Refused::InvalidMeter(_) => OFPMMFC_INVALID_METER,
        Refused::GroupExists(_) => OFPGMFC_GROUP_EXISTS,
        Refused::InvalidGroup(_) => OFPGMFC_INVALID_GROUP,
        Refused::WeightUnsupported(_) => OFPGMFC_WEIGHT_UNSUPPORTED,
        Refused::OutOfGroups => OFPGMFC_OUT_OF_GROUPS,
        Refused::OutOfBuckets(_) => OFPGMFC_OUT_OF_BUCKETS,
        Refused::GroupLoop(_) => OFPGMFC_LOOP,
        Refused::UnknownGroup(_) => OFPGMFC_UNKNOWN_GROUP,
        Refused::ChainedGroup(_) => OFPGMFC_CHAINED_GROUP,
        Refused::BadWatch(_) => OFPGMFC_BAD_WATCH,
        Refused::BadBucket(_) => OFPGMFC_BAD_BUCKET,
        Refused::UnknownBucket(_) => OFPGMFC_UNKNOWN_BUCKET,
        Refused::BucketExists(_) => OFPGMFC_BUCKET_EXISTS,
        Refused::MeterExists(_) => OFPMMFC_METER_EXISTS,
        Refused::UnknownMeter(_) => OFPMMFC_UNKNOWN_METER,
        Refused::BadMeterFlags => OFPMMFC_BAD_FLAGS,
        Refused::BadRate(_) => OFPMMFC_BAD_RATE,
        Refused::OutOfMeters => OFPMMFC_OUT_OF_METERS,
        Refused::OutOfBands(_) => OFPMMFC_OUT_OF_BANDS,
    }
}
