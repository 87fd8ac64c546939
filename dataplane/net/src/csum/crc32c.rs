//! CRC32c (Castagnoli), in software: one byte at a time from a table, and changed in place when a
//! few bytes of a long message change.

// Tables of 256 entries are indexed by a byte, of 32 by a bit number below 32.
#![allow(clippy::indexing_slicing)]

/// The polynomial, bits reversed (RFC 9260 appendix A: 0x1EDC6F41).
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC32c of a message.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !shift_in(!0, bytes)
}

/// CRC32c after the bytes `old` of a message were replaced by `new`, of the same length, with
/// `after` bytes following them. Costs as many steps as `after` has bits.
///
/// CRC is linear: the change of the result is the CRC, without initial value and complement, of
/// the change of the message, which is zero everywhere else.
pub fn crc32c_change(crc: u32, old: &[u8], new: &[u8], after: usize) -> u32 {
    let mut change = 0;
    for (old, new) in old.iter().zip(new) {
        change = shift_in(change, &[old ^ new]);
    }
    crc ^ append_zeros(change, after)
}

fn shift_in(mut register: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        register = (register >> 8) ^ TABLE[((register ^ u32::from(*byte)) & 0xff) as usize];
    }
    register
}

/// The register after `count` zero bytes: multiplication by a power of a 32 x 32 bit matrix.
fn append_zeros(mut register: u32, mut count: usize) -> u32 {
    let mut power = ONE_ZERO_BYTE;
    while count != 0 {
        if count & 1 == 1 {
            register = multiply(&power, register);
        }
        count >>= 1;
        if count != 0 {
            power = square(&power);
        }
    }
    register
}

/// What one zero byte does to each bit of the register.
const ONE_ZERO_BYTE: [u32; 32] = {
    let mut matrix = [0u32; 32];
    let mut bit = 0;
    while bit < 32 {
        let register = 1u32 << bit;
        matrix[bit] = (register >> 8) ^ TABLE[(register & 0xff) as usize];
        bit += 1;
    }
    matrix
};

fn multiply(matrix: &[u32; 32], vector: u32) -> u32 {
    let mut result = 0;
    for (bit, column) in matrix.iter().enumerate() {
        if vector >> bit & 1 == 1 {
            result ^= column;
        }
    }
    result
}

fn square(matrix: &[u32; 32]) -> [u32; 32] {
    let mut result = [0u32; 32];
    for (to, column) in result.iter_mut().zip(matrix) {
        *to = multiply(matrix, *column);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_the_specification() {
        // "123456789", the check value of every CRC catalogue for CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_change_in_place_equals_computing_again() {
        let mut message = [0u8; 3000];
        for (i, byte) in message.iter_mut().enumerate() {
            *byte = (i * 7 + i / 255) as u8;
        }
        let before = crc32c(&message);
        let old: [u8; 4] = message[100..104].try_into().unwrap();
        let new = [1, 2, 3, 250];
        message[100..104].copy_from_slice(&new);
        assert_eq!(
            crc32c_change(before, &old, &new, 3000 - 104),
            crc32c(&message)
        );
    }
}
