/* The verifier from many threads at once, through its one header: a good and a
 * bad bundle, a good and a bad document, shown and judged. Every thread must come
 * to what one thread alone came to. script/test builds this with the thread
 * sanitizer too, which sees what luck hides. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>
#include <unistd.h>

#include "verify/verify.h"

#include "bundle_sample.h"

enum { THREADS = 8, ROUNDS = 12, SUBJECTS = 4, TEXT_MAX = 65536 };

static struct sample_root root;
static struct tc_span subjects[SUBJECTS]; /* two bundles, two documents */
static char alone[SUBJECTS][TEXT_MAX];
static pthread_barrier_t barrier;

static void die(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(1);
}

static struct tc_span read_all(int fd)
{
    size_t size = (size_t)lseek(fd, 0, SEEK_END);
    uint8_t *bytes = malloc(size);
    if (!bytes || pread(fd, bytes, size, 0) != (ssize_t)size) die("cannot read a sample");
    (void)close(fd);
    return (struct tc_span){bytes, size};
}

/* A copy with one bit changed in the middle. */
static struct tc_span spoilt(struct tc_span good)
{
    uint8_t *bytes = malloc(good.size);
    if (!bytes) die("out of memory");
    memcpy(bytes, good.data, good.size);
    bytes[good.size / 2] ^= 1;
    return (struct tc_span){bytes, good.size};
}

static tc_status judge_bundle(struct tc_span bytes, struct tc_verdict *ret_verdict,
                              struct tc_error *err)
{
    struct tc_pcrs_asked pcrs = {.asked = 1};
    memset(pcrs.value[0].bytes, 0x10, sizeof pcrs.value[0].bytes); /* the sample's image */
    const struct tc_verify_options options = {.root = {root.der.data, root.der.size},
                                              .pcrs_asked = &pcrs};
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes.data, bytes.size, 0) != (ssize_t)bytes.size)
        die("cannot make a file");
    tc_status status = tc_verify_bundle(fd, &options, ret_verdict, err);
    (void)lseek(fd, 0, SEEK_SET);
    struct tc_bundle_view view;
    struct tc_error view_error = {0};
    if (tc_bundle_view_read(fd, &view, &view_error) == TC_OK) tc_bundle_view_free(&view);
    (void)close(fd);
    return status;
}

static tc_status judge_document(struct tc_span bytes, struct tc_verdict *ret_verdict,
                                struct tc_error *err)
{
    const struct tc_attestation_options options = {.root = {root.der.data, root.der.size}};
    struct tc_attestation read;
    tc_status status = tc_attestation_verify(bytes, &options, ret_verdict, &read, err);
    if (status == TC_OK) tc_attestation_free(&read);
    return status;
}

/* Everything that a verdict says, as text. */
static void judge(size_t subject, char out[TEXT_MAX])
{
    struct tc_verdict verdict;
    struct tc_error err = {0};
    tc_status status = subject < 2 ? judge_bundle(subjects[subject], &verdict, &err)
                                   : judge_document(subjects[subject], &verdict, &err);
    if (status != TC_OK) die(err.message);
    int used = snprintf(out, TEXT_MAX, "%d %s\n", (int)verdict.kind, verdict.reason);
    for (size_t i = 0; i < verdict.checks_count; i++)
        used += snprintf(out + used, TEXT_MAX - (size_t)used, "%s %d %s %s\n",
                         verdict.checks[i].name, (int)verdict.checks[i].result,
                         verdict.checks[i].expected, verdict.checks[i].seen);
    tc_verdict_free(&verdict);
}

static void *work(void *context)
{
    size_t number = (size_t)(uintptr_t)context;
    char *text = malloc(TEXT_MAX);
    if (!text) die("out of memory");
    for (size_t i = 0; i < (size_t)ROUNDS * SUBJECTS; i++) {
        /* All begin at once, else the locks inside the libraries order what has
         * no order. Every other round each has another subject. */
        size_t subject = (i / SUBJECTS % 2 * number + i) % SUBJECTS;
        (void)pthread_barrier_wait(&barrier);
        judge(subject, text);
        if (strcmp(text, alone[subject]) != 0) die("a thread came to another verdict");
    }
    free(text);
    return NULL;
}

int main(void)
{
    static const enum tc_verdict_kind kinds[SUBJECTS] = {TC_VERDICT_DEVELOPMENT, TC_VERDICT_REFUSED,
                                                         TC_VERDICT_DEVELOPMENT,
                                                         TC_VERDICT_REFUSED};
    struct sample_parts parts;
    pthread_t threads[THREADS];
    if (sample_root_make(&root) != 0) die("cannot make a root");
    sample_parts_make(&parts, &root, NULL, NULL);
    subjects[0] = read_all(sample_bundle_fd(&parts));
    parts.outputs[0].data[0] ^= 1;
    subjects[1] = read_all(sample_bundle_fd(&parts));
    subjects[2] = (struct tc_span){parts.document.data, parts.document.size};
    subjects[3] = spoilt(subjects[2]);
    for (size_t i = 0; i < SUBJECTS; i++) {
        judge(i, alone[i]);
        if (alone[i][0] != (char)('0' + (int)kinds[i])) die(alone[i]);
    }
    if (pthread_barrier_init(&barrier, NULL, THREADS) != 0) die("no barrier");
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) != 0)
            die("cannot start a thread");
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_barrier_destroy(&barrier);
    free((void *)(uintptr_t)subjects[0].data);
    free((void *)(uintptr_t)subjects[1].data);
    free((void *)(uintptr_t)subjects[3].data);
    sample_parts_free(&parts);
    return sample_root_remove(&root);
}
