//! CRC-32C (Castagnoli), eight bytes at a time.

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0_u32; 256]; 8];
    let mut n = 0_u32;
    while n < 256 {
        let mut crc = n;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        set(&mut tables, 0, n, crc);
        n += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut n = 0_u32;
        while n < 256 {
            let before = get(&tables, table - 1, n);
            let value = (before >> 8) ^ get(&tables, 0, before & 0xff);
            set(&mut tables, table, n, value);
            n += 1;
        }
        table += 1;
    }
    tables
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse a place outside")]
const fn set(tables: &mut [[u32; 256]; 8], table: usize, n: u32, value: u32) {
    tables[table][n as usize] = value;
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse a place outside")]
const fn get(tables: &[[u32; 256]; 8], table: usize, n: u32) -> u32 {
    tables[table][n as usize]
}

static TABLES: [[u32; 256]; 8] = tables();

fn look_up(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The checksum of some bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = u32::MAX;
    for [a, b, c, d, e, f, g, h] in chunks {
        let [low0, low1, low2, low3] = (crc ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
        crc = look_up(t7, low0)
            ^ look_up(t6, low1)
            ^ look_up(t5, low2)
            ^ look_up(t4, low3)
            ^ look_up(t3, *e)
            ^ look_up(t2, *f)
            ^ look_up(t1, *g)
            ^ look_up(t0, *h);
    }
    for byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look_up(t0, low ^ byte);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_the_standard() {
        // RFC 3720, B.4
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(&[]), 0);
    }
}
