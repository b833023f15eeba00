//@ call
// A bound call through Python's own C interface, whose functions Python hands over by address, so that its headers are not
// needed.  Before the kernel runs, every place that the call depends on is looked at: each must hold the very objects that
// it held.  Where one does not, the call is left to Python.
#include <stdint.h>
#include <string.h>
typedef struct object object;
typedef intptr_t word;  // a number or an address
static struct {
  object *(*PyFloat_FromDouble)(double);
  object *(*PyTuple_Pack)(word, ...);
  object *(*PyObject_CallNoArgs)(object *);
  void *(*PyEval_SaveThread)(void);
  void (*PyEval_RestoreThread)(void *);
  void (*Py_DecRef)(object *);
  void (*PyErr_Fetch)(object **, object **, object **);
  void (*PyErr_Restore)(object *, object *, object *);
  void *(*PyLong_AsVoidPtr)(object *);
  object *(*PyTuple_GetItem)(object *, word);
  object *(*PyCFunction_NewEx)(void *, object *, object *);
  word (*PyList_Size)(object *);
  object *(*PyList_GetItem)(object *, word);
  word (*PyDict_Size)(object *);
  int (*PyDict_Next)(object *, word *, object **, object **);
  object *(*PyDict_GetItemWithError)(object *, object *);
  object *(*PyFunction_GetCode)(object *);
  object *(*PyFunction_GetDefaults)(object *);
  object *(*PyFunction_GetKwDefaults)(object *);
  object *(*PyCell_Get)(object *);
  int (*PyContextVar_Get)(object *, object *, object **);
} py;
enum { LIST, DICT, NAMES, FUNCTION, CELL, CONTEXT, ARRAY, NUMBERS };
typedef struct {  // the first fields of NumPy's arrays, behind the head of every object
  const char *data;
  int dimensions;
  const word *shape, *strides;
  object *base, *dtype;
} array;
typedef struct {
  void (*run)(void *);
  void *frame;
  const void *result;
  object *acquire, *release, *python, *answer, *finish;  // some may be missing
  word single, head, words;
  word notes[];
} bound;
static int is_same(object *now, word was) {
  if (now) py.Py_DecRef(now);
  return (word)now == was;
}
// A note is its kind, how many words it has, the place, and what was there.
static int holds(word kind, object *place, const word *was, word count, word head) {
  word at = 0;
  object *key, *now = 0;
  switch (kind) {
    case LIST:
      if (py.PyList_Size(place) != count) return 0;
      for (word i = 0; i < count; i++)
        if ((word)py.PyList_GetItem(place, i) != was[i]) return 0;
      return 1;
    case DICT:
      if (2 * py.PyDict_Size(place) != count) return 0;
      for (word i = 0; i < count; i += 2)
        if (!py.PyDict_Next(place, &at, &key, &now) || (word)key != was[i] || (word)now != was[i + 1]) return 0;
      return 1;
    case NAMES:
      for (word i = 0; i < count; i += 2)
        if ((word)py.PyDict_GetItemWithError(place, (object *)was[i]) != was[i + 1]) return 0;
      return 1;
    case FUNCTION:
      return (word)py.PyFunction_GetCode(place) == was[0] && (word)py.PyFunction_GetDefaults(place) == was[1] &&
             (word)py.PyFunction_GetKwDefaults(place) == was[2];
    case CELL:
      return is_same(py.PyCell_Get(place), was[0]);
    case CONTEXT:
      return !py.PyContextVar_Get(place, 0, &now) && is_same(now, was[0]);
    case NUMBERS:
      return !memcmp(place, (const void *)was[1], was[0]);
    default: {
      const array *a = (const array *)((const char *)place + head);
      const word n = was[1];
      return (word)a->data == was[0] && a->dimensions == n && (word)a->dtype == was[2] &&
             !memcmp(a->shape, was + 3, n * sizeof(word)) && !memcmp(a->strides, was + 3 + n, n * sizeof(word));
    }
  }
}
static object *answer(const bound *b) {
  for (const word *n = b->notes; n < b->notes + b->words; n += 3 + n[1])
    if (!holds(n[0], (object *)n[2], n + 3, n[1], b->head)) return py.PyObject_CallNoArgs(b->python);
  void *others = b->acquire ? py.PyEval_SaveThread() : 0;
  b->run(b->frame);
  if (others) py.PyEval_RestoreThread(others);
  object *value = py.PyFloat_FromDouble(b->single ? *(const float *)b->result : *(const double *)b->result);
  if (!value || (!b->finish && !b->answer)) return value;
  object *rest = b->finish ? py.PyObject_CallNoArgs(b->finish) : b->answer, *both = 0;
  if (rest) both = py.PyTuple_Pack(2, value, rest);
  py.Py_DecRef(value);
  if (rest && b->finish) py.Py_DecRef(rest);
  return both;
}
static object *call(object *self, object *unused) {
  (void)unused;
  const bound *b = py.PyLong_AsVoidPtr(py.PyTuple_GetItem(self, 0));
  if (!b->acquire) return answer(b);
  object *held = py.PyObject_CallNoArgs(b->acquire);
  if (!held) return 0;
  py.Py_DecRef(held);
  object *found = answer(b), *error[3];
  py.PyErr_Fetch(error, error + 1, error + 2);  // nothing is called while an error is on its way
  held = py.PyObject_CallNoArgs(b->release);
  if (held) py.Py_DecRef(held);
  py.PyErr_Restore(error[0], error[1], error[2]);
  return found;
}
static struct {
  const char *name;
  object *(*call)(object *, object *);
  int flags;
  const char *doc;
} method = {"call", call, 4, 0};  // 4: no arguments
// A Python function that makes the bound call whose address is the first part of ``self``, which holds what it refers to.
object *mg_bound(const void *functions, object *self) {
  memcpy(&py, functions, sizeof py);
  return py.PyCFunction_NewEx(&method, self, 0);
}
