package otafile

// IntegrityCode lets tests compare the hash with the vectors of the Zigbee specification.
func IntegrityCode(message []byte) [16]byte { return integrityCode(message) }
