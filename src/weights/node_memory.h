#pragma once
// Memory that the processes of a node share: what is made of a component's weights is made by one of them and
// lies there once. It has no name in any file system (memfd_create(2)) and is gone with the last process.

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "dist/comm.h"

namespace rushes {

class NodeMemory;

/// What is made of one component, tensor after tensor in one order. The first to open it fills it while the
/// others wait; they are then given the same tensors, read-only.
class Shelf {
 public:
  /// Waits while another process fills the shelf of this name: of all that decides what is made.
  Shelf(NodeMemory& memory, const std::string& name);
  /// Without finish() what was put there is forgotten, and the next to open the shelf fills it.
  ~Shelf();
  Shelf(const Shelf&) = delete;
  Shelf& operator=(const Shelf&) = delete;

  /// Is everything there?
  bool filled() const;
  /// While filling: moves a CPU tensor there; strides are kept. `name` is what next() must ask for in turn.
  /// Throws std::bad_alloc.
  at::Tensor put(const std::string& name, const at::Tensor& tensor);
  /// While filling: notes something that each process makes by itself.
  void leave_out(const std::string& name);
  /// Of a filled one: the next tensor; undefined where it was left out. Tensors may outlive the NodeMemory.
  at::Tensor next(const std::string& name);
  /// All is there, for others too.
  void finish();

 private:
  struct Entry;
  struct State;
  void note(const std::string& name, const at::Tensor* tensor);
  std::unique_ptr<State> state_;
};

class NodeMemory {
 public:
  /// Collective over `node`, ranks that are processes of one machine (or threads of one). nullptr where it
  /// can't be had, which a warning says, and for a rank alone: weights are then everyone's own.
  static std::unique_ptr<NodeMemory> make(const Comm& node);
  ~NodeMemory();
  NodeMemory(const NodeMemory&) = delete;
  NodeMemory& operator=(const NodeMemory&) = delete;

  /// What another process of the node opens it by: a path and what is found there.
  std::string address() const;
  /// nullptr, with `trouble`, where the memory of that address can't be had here: in another PID name space
  /// its path is another process's file.
  static std::unique_ptr<NodeMemory> open(const std::string& address, std::string& trouble);

 private:
  friend class Shelf;
  struct Header;
  NodeMemory(int fd, Header* header) : fd_(fd), header_(header) {}
  static std::unique_ptr<NodeMemory> create(std::string& trouble);

  int fd_;
  Header* header_;
};

}  // namespace rushes
