// Package docs holds documents. Its tests compile the snippets in them.
package docs
