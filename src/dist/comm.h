#pragma once
// Collectives among the ranks of one group, over any Transport. Tensors lie on the CPU or on the transport's
// GPU. Sums are taken in float32 (float64 for float64) in the order of the ranks and rounded once, and every
// rank gets the same bits, whatever the transport. A group of one does nothing and copies nothing.

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "dist/transport.h"

namespace rushes {

class Comm {
 public:
  /// A group of one.
  Comm() = default;
  /// `name` tells messages which group this is ("ulysses").
  Comm(std::unique_ptr<Transport> transport, std::string name);

  int rank() const { return transport_ ? transport_->rank() : 0; }
  int size() const { return transport_ ? transport_->size() : 1; }
  bool alone() const { return size() == 1; }
  const std::string& name() const { return name_; }
  Traffic traffic() const { return transport_ ? transport_->traffic() : Traffic{}; }
  /// Who a rank of this group is, for messages.
  std::string member(int rank) const;
  /// See Transport::subgroup.
  Comm subgroup(const std::vector<int>& members, int tag, std::string name) const;

  // Collectives: every rank of the group calls the same ones in the same order. `dim` counts as ATen does.

  /// The sum over ranks, in x's place. x: the same shape and dtype everywhere, any strides.
  void all_reduce_(at::Tensor& x) const;
  /// The sum over ranks, rounded to `dtype` where it is made, so that no wider numbers are sent round.
  at::Tensor all_reduce(const at::Tensor& x, at::ScalarType dtype) const;
  /// The ranks' tensors one after another along `dim`. sizes[r]: rank r's extent there; all else is the same.
  at::Tensor all_gather(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes) const;
  /// Rank r gets the r-th part (of sizes[r]) along `dim` of the sum over ranks.
  at::Tensor reduce_scatter(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes) const;
  /// x from `root`, in every rank's x, which has the same shape and dtype.
  void broadcast_(at::Tensor& x, int root, Patience patience = Patience::watched) const;
  /// Rank r's tensors come to rank `root` one after another along `dim`; others get an undefined tensor.
  at::Tensor gather(const at::Tensor& x, int64_t dim, at::IntArrayRef sizes, int root) const;
  std::string broadcast(const std::string& text, int root, Patience patience = Patience::watched) const;
  /// Every rank's number, by rank.
  std::vector<int64_t> all_gather(int64_t number) const;
  void barrier() const;

  /// An all-to-all that goes on beside other work.
  class AllToAll {
   public:
    /// parts[r] came from rank r; the own part is the tensor that was given.
    std::vector<at::Tensor> wait();

   private:
    friend class Comm;
    std::vector<at::Tensor> sent_, parts_;
    std::unique_ptr<Pending> pending_;
  };
  /// parts[r] goes to rank r; shapes[r]: the shape of what comes from there, in parts[0]'s dtype. Without
  /// elements nothing goes, so that a rank that neither gives nor gets anything need not call.
  AllToAll start_all_to_all(std::vector<at::Tensor> parts,
                            const std::vector<std::vector<int64_t>>& shapes) const;
  std::vector<at::Tensor> all_to_all(std::vector<at::Tensor> parts,
                                     const std::vector<std::vector<int64_t>>& shapes) const {
    return start_all_to_all(std::move(parts), shapes).wait();
  }

  /// Sends one tensor and receives others, beside other work.
  class SendReceive {
   public:
    /// What was received, in the order of the shapes.
    std::vector<at::Tensor> wait();

   private:
    friend class Comm;
    std::vector<at::Tensor> sent_, received_;
    std::unique_ptr<Pending> pending_;
  };
  /// `send` goes to rank `to`; from rank `from` come tensors of `shapes`, in send[0]'s dtype. Either may be
  /// this rank itself, both then.
  SendReceive start_send_receive(const std::vector<at::Tensor>& send, int to,
                                 const std::vector<std::vector<int64_t>>& shapes, int from) const;

  /// What the ranks on either side sent.
  struct Halos {
    at::Tensor from_previous, from_next;
  };
  /// The first `line` ranks stand in a line; the others take no part and need not call. `to_previous` goes to
  /// the rank before and `to_next` to the one after, both in one exchange. All ranks give tensors of the same
  /// two shapes and of one dtype; undefined: nothing goes that way. What would come from beyond an end is
  /// zero.
  Halos exchange_halos(const at::Tensor& to_previous, const at::Tensor& to_next, int line) const;

 private:
  std::unique_ptr<Pending> exchange(std::vector<Piece> sends, std::vector<Piece> receives, const char* what,
                                    Patience patience = Patience::watched) const;
  at::Tensor sum_of_parts(const std::vector<at::Tensor>& parts) const;

  std::shared_ptr<Transport> transport_;
  std::string name_ = "alone";
};

/// A sum of up to this many numbers is gathered whole and added everywhere: one exchange in place of two.
inline constexpr int64_t kSmallSum = 4096;

/// The extents of `total` cut into `ranks` parts that differ by at most one, the longer ones first.
std::vector<int64_t> even_sizes(int64_t total, int64_t ranks);
/// Where part `rank` begins.
int64_t start_of(at::IntArrayRef sizes, int64_t rank);

}  // namespace rushes
