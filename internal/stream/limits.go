package stream

// Limits bound what one stanza may cost. A field that is zero has its default.
type Limits struct {
	// MaxBytes is the size of a stanza or header, as sent. Default 4 MiB.
	MaxBytes int
	// MaxDepth is how deep elements may be nested, the stanza itself being 1.
	// Default 200.
	MaxDepth int
	// MaxElements is the number of elements in a stanza. Default 131072, which
	// is 15 MB in memory.
	MaxElements int
	// MaxAttrs is the number of attributes of one element, namespace
	// declarations among them. Default 256.
	MaxAttrs int
	// Skip makes a Reader pass over stanzas that are over a limit, instead of
	// ending with them.
	Skip bool
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, std int) {
		if *v <= 0 {
			*v = std
		}
		*v = min(*v, 1<<30) // positions are 32 bits wide
	}
	set(&l.MaxBytes, 4<<20)
	set(&l.MaxDepth, 200)
	set(&l.MaxElements, 1<<17)
	set(&l.MaxAttrs, 256)
	return l
}
