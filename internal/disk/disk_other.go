//go:build !linux

package disk

// SpaceOf gives the room of the file system that holds path.
func SpaceOf(string) (Space, error) { return Space{}, ErrUnknown }

// Network gives the name of the network file system that holds path, or "" for a local one.
func Network(string) (string, error) { return "", ErrUnknown }
