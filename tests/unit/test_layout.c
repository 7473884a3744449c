/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The layouts, read by somebody else: what gcc wrote into BTF must be what the tables say. */
#include <bpf/btf.h>

#include <weir/shm/all.h>

#include "help.h"

TestSuite(layout, .timeout = 60);

#ifndef BTF_OBJECT
#define BTF_OBJECT "build/gen/btf.o"
#endif

static const struct btf_type *find_struct(const struct btf *btf, const char *name)
{
	char full[80];
	int id;

	snprintf(full, sizeof(full), "weir_%s_shm", name);
	id = btf__find_by_name_kind(btf, full, BTF_KIND_STRUCT);
	return id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
}

static const struct weir_layout_field *find_field(const struct weir_layout *l, const char *name)
{
	for (uint32_t i = 0; i < l->field_count; i++) {
		if (strcmp(l->fields[i].name, name) == 0)
			return &l->fields[i];
	}
	return NULL;
}

Test(layout, offsets_agree_with_what_the_compiler_says)
{
	struct btf *btf = btf__parse(BTF_OBJECT, NULL);
	uint32_t fields = 0;

	cr_assert(btf, "cannot read %s", BTF_OBJECT);
	for (uint32_t i = 0; weir_layout_at(i); i++) {
		const struct weir_layout *l = weir_layout_at(i);
		const struct btf_type *t = find_struct(btf, l->name);
		const struct btf_member *m;

		cr_assert(t, "struct weir_%s_shm is not in the BTF", l->name);
		cr_assert_eq(t->size, l->bytes);
		m = btf_members(t);
		for (uint32_t k = 0; k < btf_vlen(t); k++) {
			const char *name = btf__name_by_offset(btf, m[k].name_off);
			const struct weir_layout_field *f = find_field(l, name);

			cr_assert(f, "%s.%s is not in the tables", l->name, name);
			cr_assert_eq(btf_member_bit_offset(t, k), f->offset * 8, "%s.%s", l->name,
				     name);
			cr_assert_eq(btf__resolve_size(btf, m[k].type), (int64_t)f->size, "%s.%s",
				     l->name, name);
			fields++;
		}
	}
	cr_assert_gt(fields, 100);
	btf__free(btf);
}

Test(layout, the_text_describes_itself_and_differs_where_it_is_changed)
{
	struct weir_segment *seg = help_segment();
	const struct weir_segment_shm *h = weir_segment_base(seg, NULL);
	const char *text = (const char *)h + h->text_off;
	char *copy = malloc(h->text_bytes);
	char why[256];
	uint32_t differs = 0;

	cr_assert_eq(weir_layout_stamp_of(text, h->text_bytes), h->stamp);
	cr_assert_eq(weir_layout_diff(text, h->text_bytes, text, h->text_bytes, why, sizeof(why)),
		     0);
	memcpy(copy, text, h->text_bytes);
	/* Every single digit changed: refused as different or as malformed, never accepted. */
	for (uint64_t i = 0; i < h->text_bytes; i++) {
		if (copy[i] < '0' || copy[i] > '8')
			continue;
		copy[i]++;
		cr_assert_neq(weir_layout_diff(text, h->text_bytes, copy, h->text_bytes, why,
					       sizeof(why)),
			      0);
		copy[i]--;
		differs++;
	}
	cr_assert_gt(differs, 500);
	free(copy);
	weir_segment_close(seg);
	help_cleanup();
}
