#include "attention/distributed.h"

#include <numeric>

#include "base/error.h"
#include "dist/comm.h"
#include "dist/traffic.h"

namespace rushes {
namespace {

using Shape = std::vector<int64_t>;

int64_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

/// Several tensors as one run of numbers, and back.
at::Tensor packed(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  flat.reserve(tensors.size());
  for (const at::Tensor& x : tensors)
    flat.push_back(x.reshape({-1}));
  return at::cat(flat);
}

std::vector<at::Tensor> unpacked(const at::Tensor& flat, const std::vector<Shape>& shapes) {
  std::vector<at::Tensor> tensors;
  int64_t at = 0;
  for (const Shape& shape : shapes) {
    tensors.push_back(flat.narrow(0, at, product(shape)).view(shape));
    at += product(shape);
  }
  return tensors;
}

/// Who has what inside this rank's Ulysses group, for some of the heads.
struct Layout {
  const Comm* ulysses;
  const Comm* ring;
  Shape all_tokens;    // by rank of sp
  Shape tokens;        // by rank of the Ulysses group
  Shape heads, first;  // by rank of the Ulysses group: how many it has after the trade, and from where on
  int64_t own_heads() const { return heads[static_cast<size_t>(ulysses->rank())]; }
  int64_t first_head() const { return first[static_cast<size_t>(ulysses->rank())]; }
  int64_t own_tokens() const { return tokens[static_cast<size_t>(ulysses->rank())]; }
  int64_t group_tokens() const { return std::accumulate(tokens.begin(), tokens.end(), int64_t{0}); }
  /// Of the Ulysses group at this place of the ring.
  int64_t tokens_at(int64_t place) const {
    const auto begin = all_tokens.begin() + place * ulysses->size();
    return std::accumulate(begin, begin + ulysses->size(), int64_t{0});
  }
};

Layout layout_of(const SequenceParallel& sp, int64_t tokens, int64_t heads) {
  Layout layout{sp.ulysses, sp.ring, even_sizes(tokens, sp.all->size()), {}, {}, {}};
  const auto begin = layout.all_tokens.begin() + int64_t{sp.ring->rank()} * sp.ulysses->size();
  layout.tokens.assign(begin, begin + sp.ulysses->size());
  layout.heads = even_sizes(heads, sp.ulysses->size());
  for (int r = 0; r < sp.ulysses->size(); ++r)
    layout.first.push_back(start_of(layout.heads, r));
  return layout;
}

/// The same for one of `pieces` of every rank's heads.
Layout piece_of(Layout layout, int64_t piece, int64_t pieces) {
  for (size_t r = 0; r < layout.heads.size(); ++r) {
    const Shape sizes = even_sizes(layout.heads[r], pieces);
    layout.first[r] += start_of(sizes, piece);
    layout.heads[r] = sizes[static_cast<size_t>(piece)];
  }
  return layout;
}

/// [batch, own tokens, all heads, dim] -> [batch, the group's tokens, own heads, dim], of several tensors by
/// one exchange, which goes on beside other work.
class TokensToHeads {
 public:
  TokensToHeads(const std::vector<at::Tensor>& tensors, const Layout& layout) {
    std::vector<at::Tensor> parts;
    std::vector<Shape> flat_shapes;
    for (int r = 0; r < layout.ulysses->size(); ++r) {
      const auto index = static_cast<size_t>(r);
      std::vector<at::Tensor> part;
      std::vector<Shape> back;
      int64_t numbers = 0;
      for (const at::Tensor& x : tensors) {
        part.push_back(x.narrow(2, layout.first[index], layout.heads[index]));
        back.push_back({x.size(0), layout.tokens[index], layout.own_heads(), x.size(3)});
        numbers += product(back.back());
      }
      parts.push_back(packed(part));
      flat_shapes.push_back({numbers});
      shapes_.push_back(std::move(back));
    }
    pending_ = layout.ulysses->start_all_to_all(std::move(parts), flat_shapes);
  }
  std::vector<at::Tensor> wait() {
    const std::vector<at::Tensor> got = pending_.wait();
    std::vector<std::vector<at::Tensor>> pieces(shapes_[0].size());
    for (size_t r = 0; r < got.size(); ++r) {
      const std::vector<at::Tensor> from = unpacked(got[r], shapes_[r]);
      for (size_t i = 0; i < from.size(); ++i)
        pieces[i].push_back(from[i]);
    }
    std::vector<at::Tensor> result;
    result.reserve(pieces.size());
    for (const std::vector<at::Tensor>& piece : pieces)
      result.push_back(at::cat(piece, 1));
    return result;
  }

 private:
  std::vector<std::vector<Shape>> shapes_;  // by rank, of each tensor
  Comm::AllToAll pending_;
};

/// The way back: [batch, the group's tokens, own heads, dim] -> by rank [batch, own tokens, its heads, dim].
Comm::AllToAll start_heads_to_tokens(const at::Tensor& x, const Layout& layout) {
  std::vector<at::Tensor> parts;
  std::vector<Shape> shapes;
  for (int r = 0; r < layout.ulysses->size(); ++r) {
    const auto index = static_cast<size_t>(r);
    parts.push_back(x.narrow(1, start_of(layout.tokens, r), layout.tokens[index]));
    shapes.push_back({x.size(0), layout.own_tokens(), layout.heads[index], x.size(3)});
  }
  return layout.ulysses->start_all_to_all(std::move(parts), shapes);
}

/// The mask of the keys at each place of the ring, [batch, 1, 1, keys]; empty where all may be attended to.
std::vector<at::Tensor> key_masks(const at::Tensor& mask, const SequenceParallel& sp, const Layout& layout) {
  if (!mask.defined()) return {};
  const at::Tensor whole = sp.all->all_gather(mask, 1, layout.all_tokens);
  std::vector<at::Tensor> masks;
  int64_t first = 0;
  for (int place = 0; place < sp.ring->size(); ++place) {
    masks.push_back(whole.narrow(1, first, layout.tokens_at(place)).unsqueeze(1).unsqueeze(1));
    first += layout.tokens_at(place);
  }
  return masks;
}

/// q: [batch, queries, heads, dim]; k, v: the keys of this place of the ring, which go round. The text's keys
/// are met once.
at::Tensor attend_ring(const AttentionInput& in, const ReplicatedTokens& text,
                       const std::vector<at::Tensor>& masks, const Layout& layout,
                       const StepContext& context) {
  const int places = layout.ring->size(), own = layout.ring->rank();
  const int next = (own + 1) % places, before = (own + places - 1) % places;
  PartialAttention sum;
  if (text.k.defined()) sum = attend_part({in.q, text.k, text.v, {}, in.scale}, context);
  at::Tensor k = in.k, v = in.v;
  for (int step = 0; step < places; ++step) {
    const int place = (own + places - step) % places;  // where these keys are at home
    Comm::SendReceive arriving;
    const bool last = step + 1 == places;
    if (!last) {
      const int64_t keys = layout.tokens_at((place + places - 1) % places);
      const auto shape = [&](const at::Tensor& x) { return Shape{x.size(0), keys, x.size(2), x.size(3)}; };
      arriving = layout.ring->start_send_receive({k, v}, next, {shape(k), shape(v)}, before);
    }
    AttentionInput part{in.q, k, v, {}, in.scale};
    if (!masks.empty()) part.bias = masks[static_cast<size_t>(place)];
    const PartialAttention now = attend_part(part, context);
    sum = sum.out.defined() ? merge(sum, now) : now;
    if (last) break;
    std::vector<at::Tensor> arrived = arriving.wait();
    k = std::move(arrived[0]);
    v = std::move(arrived[1]);
  }
  return sum.out.to(in.q.scalar_type());
}

at::Tensor attend_whole(const AttentionInput& in, const ReplicatedTokens& text,
                        const std::vector<at::Tensor>& masks, const StepContext& context) {
  if (!text.k.defined() && masks.empty()) return attend(in, context);
  AttentionInput all = in;
  if (text.k.defined()) {
    all.k = at::cat({in.k, text.k}, 1);
    all.v = at::cat({in.v, text.v}, 1);
  }
  if (!masks.empty()) {
    const at::Tensor seen = at::ones({in.k.size(0), 1, 1, all.k.size(1) - in.k.size(1)}, masks[0].options());
    all.bias = at::cat({masks[0], seen}, 3);
  }
  return attend(all, context);
}

/// The text's rows of `out`, of all heads and with the same bits on every rank: ranks of a ring merge in
/// orders of their own, so the first one's word counts.
at::Tensor everyones_text(const at::Tensor& out, const Layout& layout, int64_t tokens) {
  at::Tensor own = out.narrow(1, layout.group_tokens(), tokens).contiguous();
  layout.ring->broadcast_(own, 0);
  return layout.ulysses->all_gather(own, 2, layout.heads);
}

}  // namespace

std::vector<int64_t> token_shares(int64_t tokens, const StepContext& context) {
  return even_sizes(tokens, context.sp != nullptr ? context.sp->all->size() : 1);
}

at::Tensor own_tokens(const at::Tensor& whole, int64_t dim, const StepContext& context) {
  if (context.sp == nullptr || context.sp->all->alone()) return whole;
  const std::vector<int64_t> shares = token_shares(whole.size(dim), context);
  const int rank = context.sp->all->rank();
  return whole.narrow(dim, start_of(shares, rank), shares[static_cast<size_t>(rank)]);
}

at::Tensor all_tokens(const at::Tensor& own, int64_t dim, int64_t tokens, const StepContext& context) {
  if (context.sp == nullptr) return own;
  return context.sp->all->all_gather(own, dim, token_shares(tokens, context));
}

JointAttention attend_distributed(const AttentionInput& in, int64_t tokens, const ReplicatedTokens& text,
                                  const at::Tensor& mask, const StepContext& context) {
  RUSHES_CHECK(!in.bias, "a bias over a sequence in parts");
  static const Comm lone;
  static const SequenceParallel whole{&lone, &lone, &lone};
  const SequenceParallel& sp = context.sp != nullptr ? *context.sp : whole;
  const Layout layout = layout_of(sp, tokens, in.q.size(2));
  RUSHES_CHECK(in.q.size(1) == layout.own_tokens(), "q ", in.q.sizes(), ", ", tokens, " tokens");
  const std::vector<at::Tensor> masks = key_masks(mask, sp, layout);
  // Text is gathered over all heads at once.
  const int64_t pieces = text.q.defined() || sp.ulysses->alone() ? 1 : std::max<int64_t>(1, sp.pieces);
  std::vector<TokensToHeads> there;
  std::vector<Comm::AllToAll> back;
  for (int64_t piece = 0; piece < pieces; ++piece)
    there.emplace_back(std::vector<at::Tensor>{in.q, in.k, in.v}, piece_of(layout, piece, pieces));
  JointAttention result;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const Layout own = piece_of(layout, piece, pieces);
    const std::vector<at::Tensor> qkv = there[static_cast<size_t>(piece)].wait();
    const auto own_heads = [&](const at::Tensor& x) {
      return x.defined() ? x.narrow(2, own.first_head(), own.own_heads()) : x;
    };
    const ReplicatedTokens own_text{own_heads(text.q), own_heads(text.k), own_heads(text.v)};
    AttentionInput heads{qkv[0], qkv[1], qkv[2], {}, in.scale};
    if (text.q.defined()) heads.q = at::cat({heads.q, own_text.q}, 1);
    const at::Tensor out = sp.ring->alone() ? attend_whole(heads, own_text, masks, context)
                                            : attend_ring(heads, own_text, masks, own, context);
    back.push_back(start_heads_to_tokens(out.narrow(1, 0, own.group_tokens()), own));
    if (text.q.defined()) result.replicated = everyones_text(out, own, text.q.size(1));
  }
  std::vector<std::vector<at::Tensor>> parts;  // by piece and rank
  for (Comm::AllToAll& exchange : back)
    parts.push_back(exchange.wait());
  std::vector<at::Tensor> by_head;
  for (size_t r = 0; r < layout.heads.size(); ++r) {
    for (const std::vector<at::Tensor>& piece : parts)
      by_head.push_back(piece[r]);
  }
  result.own = by_head.size() == 1 ? by_head[0] : at::cat(by_head, 2);
  return result;
}

at::Tensor attend_distributed(const AttentionInput& in, int64_t tokens, const StepContext& context) {
  if (context.sp == nullptr || context.sp->all->alone()) return attend(in, context);
  return attend_distributed(in, tokens, {}, {}, context).own;
}

int64_t distributed_attention_bytes(int64_t rank, int64_t ulysses, int64_t ring, int64_t batch,
                                    int64_t tokens, int64_t heads, int64_t dim, int64_t bytes) {
  const Shape all = even_sizes(tokens, ulysses * ring), head_shares = even_sizes(heads, ulysses);
  const int64_t place = rank / ulysses, seat = rank % ulysses;
  const auto group_tokens = [&](int64_t at) {
    return std::accumulate(all.begin() + at * ulysses, all.begin() + (at + 1) * ulysses, int64_t{0});
  };
  const int64_t own_heads = head_shares[static_cast<size_t>(seat)];
  const int64_t trade = ulysses_bytes({group_tokens(place), heads, dim, bytes, ulysses}, seat);
  // Round: the keys and values of every place but the next one's pass through here.
  int64_t passed = 0;
  for (int64_t step = 0; step + 1 < ring; ++step)
    passed += 2 * group_tokens((place + ring - step) % ring) * own_heads;
  return batch * (trade + dim * bytes * passed);
}

}  // namespace rushes
