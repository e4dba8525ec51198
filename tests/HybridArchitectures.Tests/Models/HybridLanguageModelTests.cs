using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class HybridLanguageModelTests
{
    // float32 sums in another order, after a few layers
    const double Tolerance = 2e-4;

    static void Same(Tensor expected, Tensor actual, string what)
    {
        Assert.Equal(expected.shape, actual.shape);
        if (expected.NumberOfElements == 0) return;
        double error = (expected - actual).abs().max().item<float>(), scale = Math.Max(1, expected.abs().max().item<float>());
        Assert.True(error / scale < Tolerance, $"{what}: differs by {error:g3}");
    }

    static Tensor Ids(int rows, int length, int seed = 1)
    {
        manual_seed(seed);
        return randint(37, [rows, length], ScalarType.Int64);
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Parameters_are_those_the_design_counts(string name)
    {
        using var model = TinyDesigns.Model(name);
        Assert.Equal(model.Design.CountParameters().Total, model.Parameters.Sum(parameter => parameter.Value.NumberOfElements));
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Chunks_of_any_size_equal_one_pass(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model(name);
        var ids = Ids(2, 23);
        Tensor whole;
        using (no_grad()) whole = model.Forward(ids);
        foreach (int[] chunks in new[] { [23], [1, 1, 1, 20], [7, 9, 7], [16, 1, 6], Enumerable.Repeat(1, 23).ToArray() })
        {
            using var cache = model.CreateCache(2);
            var parts = new List<Tensor>();
            int start = 0;
            foreach (int chunk in chunks)
            {
                using var context = new SequenceContext(cache: cache);
                parts.Add(model.Forward(ids.narrow(1, start, chunk), context));
                start += chunk;
            }
            Same(whole, cat(parts, 1), $"chunks {string.Join("+", chunks)}");
            Assert.All(cache.Lengths, length => Assert.Equal(23, length));
        }
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Rows_of_unequal_length_equal_the_rows_alone(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        long[] lengths = [3, 13, 1, 8];
        var ids = Ids(4, 13);
        var follow = Ids(4, 6, seed: 2);
        var alone = Enumerable.Range(0, 4)
            .Select(row => model.Forward(cat([ids.narrow(0, row, 1).narrow(1, 0, lengths[row]), follow.narrow(0, row, 1)], 1))).ToArray();
        using var cache = model.CreateCache(4);
        using (var layout = SequenceLayout.Padded(lengths, 13))
        using (var context = new SequenceContext(layout, cache))
        {
            var logits = model.Forward(ids, context);
            for (int row = 0; row < 4; row++)
            {
                Same(alone[row].narrow(1, 0, lengths[row]), logits.narrow(0, row, 1).narrow(1, 0, lengths[row]), $"row {row}");
                Assert.Equal(0f, logits[row].narrow(0, lengths[row], 13 - lengths[row]).abs().sum().item<float>());
            }
        }
        Assert.Equal(lengths, cache.Lengths);
        // a chunk of several tokens, then single ones, each row from its own position, in another batch order
        using var reordered = cache.Select(2, 0, 1, 3);
        var order = new[] { 2, 0, 1, 3 };
        var shuffled = follow.index_select(0, tensor(new long[] { 2, 0, 1, 3 }));
        var parts = new List<Tensor>();
        foreach (var (start, count) in new[] { (0, 3), (3, 1), (4, 1), (5, 1) })
        {
            using var context = new SequenceContext(cache: reordered);
            parts.Add(model.Forward(shuffled.narrow(1, start, count), context));
        }
        var continued = cat(parts, 1);
        for (int i = 0; i < 4; i++) Same(alone[order[i]].narrow(1, lengths[order[i]], 6), continued.narrow(0, i, 1), $"continued row {order[i]}");
        Assert.Equal(lengths, cache.Lengths);       // the original is untouched
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Left_padding_changes_nothing(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        var ids = Ids(3, 11);
        var mask = ones([3, 11], ScalarType.Int64);
        mask[1, ..4] = 0;
        mask[2, ..10] = 0;
        using var context = SequenceContext.FromMask(mask);
        var logits = model.Forward(ids, context);
        foreach (var (row, pads) in new[] { (0, 0), (1, 4), (2, 10) })
            Same(model.Forward(ids.narrow(0, row, 1).narrow(1, pads, 11 - pads)), logits.narrow(0, row, 1).narrow(1, pads, 11 - pads), $"row {row}");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Packed_documents_equal_documents_alone_forward_and_backward(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model(name);
        IReadOnlyList<IReadOnlyList<long>> documents = [[5, 0, 7, 1], [9, 3]];
        var ids = Ids(2, 14);
        var targets = Ids(2, 14, seed: 9);
        targets[0, 13] = -100; targets[1, 12..] = -100;
        using var layout = SequenceLayout.Packed(documents, 14);
        using var context = new SequenceContext(layout);
        var packed = model.Forward(ids, context);
        var packedLoss = model.Loss(ids, targets, context);
        Autograd.Backward(packedLoss.CrossEntropy * 25);
        var gradients = model.Parameters.ToDictionary(parameter => parameter.Name, parameter => parameter.Value.grad?.clone());
        foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        for (int row = 0; row < 2; row++)
        {
            long start = 0;
            foreach (long length in documents[row])
            {
                if (length == 0) continue;
                var document = ids.narrow(0, row, 1).narrow(1, start, length);
                Same(model.Forward(document), packed.narrow(0, row, 1).narrow(1, start, length), $"row {row} document at {start}");
                Autograd.Backward(model.Loss(document, targets.narrow(0, row, 1).narrow(1, start, length)).CrossEntropy * length);
                start += length;
            }
        }
        foreach (var parameter in model.Parameters)
            if (gradients[parameter.Name] is { } gradient) Same(parameter.Value.grad!, gradient, $"gradient of {parameter.Name}");
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void A_later_token_changes_nothing_before_it(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TinyDesigns.Model(name);
        var ids = Ids(1, 19);
        var changed = ids.clone();
        changed[0, 11] = (ids[0, 11] + 1) % 37;
        var (before, after) = (model.Forward(ids), model.Forward(changed));
        Same(before.narrow(1, 0, 11), after.narrow(1, 0, 11), "before the change");
        Assert.True((before - after).narrow(1, 11, 8).abs().max().item<float>() > 1e-3);
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Every_parameter_gets_a_finite_gradient(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model(name);
        Autograd.Backward(model.Loss(Ids(2, 21), Ids(2, 21, seed: 4)).Total);
        foreach (var parameter in model.Parameters)
        {
            Assert.True(parameter.Value.grad is not null, $"{parameter.Name} has no gradient");
            Assert.True(parameter.Value.grad!.isfinite().all().item<bool>(), $"the gradient of {parameter.Name} is not finite");
            Assert.True(parameter.Value.grad!.abs().max().item<float>() > 0, $"the gradient of {parameter.Name} is 0");
        }
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Bfloat16_activations_stay_near_float32(string name)
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Get(name).CreateModel(seed: 3);
        using var half = TinyDesigns.Get(name).CreateModel(ScalarType.BFloat16, seed: 3);
        var (ids, targets) = (Ids(2, 21), Ids(2, 21, seed: 4));
        var (full, rounded) = (model.Loss(ids, targets).CrossEntropy, half.Loss(ids, targets).CrossEntropy);
        Assert.Equal(ScalarType.BFloat16, half.Hidden(ids).dtype);
        Assert.Equal(full.item<float>(), rounded.item<float>(), 2e-2);
        Autograd.Backward(rounded);
        Assert.All(half.Parameters, parameter => Assert.Equal(ScalarType.Float32, parameter.Value.grad!.dtype));
    }

    [Fact]
    public void The_loss_is_the_cross_entropy_of_the_logits()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model("inter");
        var (ids, targets) = (Ids(3, 17), Ids(3, 17, seed: 4));
        targets[1, 3..9] = -100;
        var expected = nn.functional.cross_entropy(model.Forward(ids).view(-1, 37), targets.view(-1));
        Assert.Equal(expected.item<float>(), model.Loss(ids, targets).Total.item<float>(), 1e-5);
        var tokens = model.TokenLosses(ids, targets);
        Assert.Equal(expected.item<float>(), tokens.sum().item<float>() / (3 * 17 - 6), 1e-5);
        Assert.Equal(0f, tokens[1, 3..9].abs().sum().item<float>());
    }

    [Fact]
    public void The_padding_token_learns_nothing_from_the_look_up_and_all_else_as_before()
    {
        var design = TinyDesigns.Get("untied");
        Tensor Gradient(int? padding)
        {
            using var model = (design with { PaddingId = padding }).CreateModel(seed: 3);
            Autograd.Backward(model.Loss(tensor(new long[] { 4, 7, 4, 9 }).view(1, 4), tensor(new long[] { 7, 4, 9, 4 }).view(1, 4)).Total);
            return model.Embedding.grad!.clone();
        }
        using var scope = NewDisposeScope();
        var (all, without) = (Gradient(null), Gradient(4));
        Assert.True(all[4].abs().max().item<float>() > 0);
        Assert.Equal(0, without[4].abs().max().item<float>());
        Assert.True(all[7].equal(without[7]).all().item<bool>() && all[9].equal(without[9]).all().item<bool>());
    }

    [Fact]
    public void Zero_centred_norms_are_norms_less_one()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var design = TinyDesigns.Get("transformer");
        using var plain = TinyDesigns.Model("transformer");
        using var centred = (design with { ZeroCenteredNorms = true }).CreateModel(seed: 1);
        foreach (var (name, value) in centred.State)
        {
            value.copy_(plain.State[name]);
            if (name.Contains("norm")) value.sub_(ones_like(value));
        }
        var ids = tensor(new long[] { 4, 7, 4, 9 }).view(1, 4);
        Assert.True((plain.Forward(ids) - centred.Forward(ids)).abs().max().item<float>() < 1e-5);
        using var fresh = (design with { ZeroCenteredNorms = true }).CreateModel(seed: 1);
        Assert.Equal(0, fresh.State["stack.norm.weight"].abs().max().item<float>());
    }

    [Fact]
    public void A_seed_gives_the_same_model_whatever_the_global_generator()
    {
        var design = TinyDesigns.Get("inter");
        manual_seed(1);
        using var first = design.CreateModel(seed: 11);
        manual_seed(2);
        using var second = design.CreateModel(seed: 11);
        using var other = design.CreateModel(seed: 12);
        foreach (var (name, value) in first.State) Assert.True(value.equal(second.State[name]).all().item<bool>(), name);
        Assert.False(first.Embedding.equal(other.Embedding).all().item<bool>());
    }

    [Fact]
    public void Weight_decay_leaves_norms_biases_and_state_space_parameters_alone()
    {
        using var model = TinyDesigns.Model("inter");
        var spared = model.Parameters.Where(parameter => !parameter.Decays)
            .Select(parameter => parameter.Name.Split('.')[^1] is "weight" ? parameter.Name.Split('.')[^2] : parameter.Name.Split('.')[^1]).Distinct()
            .Order();
        Assert.Equal(["A_log", "D", "conv_bias", "dt_bias", "feed_forward_norm", "mixer_norm", "norm", "norm_weight"], spared);
        Assert.Contains(model.Parameters, parameter => parameter is { Name: "embedding", Decays: true });
    }

    [Fact]
    public void Initial_values_lie_where_the_paper_puts_them()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Get("mamba2").CreateModel(seed: 1);
        var state = model.State;
        var decay = state["stack.blocks.0.mixer.A_log"].exp();
        Assert.InRange(decay.min().item<float>(), 0.01f, 2f);
        Assert.InRange(decay.max().item<float>(), 0.01f, 2f);
        var step = nn.functional.softplus(state["stack.blocks.0.mixer.dt_bias"]);
        Assert.InRange(step.min().item<float>(), 0.00099f, 0.101f);
        Assert.InRange(step.max().item<float>(), 0.00099f, 0.101f);
        Assert.InRange(model.Embedding.std().item<float>(), 0.018f, 0.022f);
        Assert.True(model.Embedding.abs().max().item<float>() <= 0.0601f);
    }

    [Fact]
    public void Training_steps_leave_no_tensor_behind()
    {
        using var model = TinyDesigns.Model("intra difference");
        LiveTensors.AssertNoneLeftBy(() =>
        {
            using var scope = NewDisposeScope();
            Autograd.Backward(model.Loss(Ids(2, 16), Ids(2, 16, seed: 4)).Total);
            foreach (var parameter in model.Parameters) parameter.Value.grad = null;
        });
    }

    [Fact]
    public void Generation_steps_leave_no_tensor_behind()
    {
        using var model = TinyDesigns.Model("inter");
        using var cache = model.CreateCache(2);
        LiveTensors.AssertNoneLeftBy(() =>
        {
            using var scope = NewDisposeScope();
            using var context = new SequenceContext(cache: cache);
            model.Forward(Ids(2, 1), context);
        });
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using var model = TinyDesigns.Model("inter");
        Assert.Contains("expected (batch, length)",
            Assert.Throws<ArgumentException>("ids", () => model.Forward(zeros([3], ScalarType.Int64))).Message);
        Assert.Contains("expected Int64", Assert.Throws<ArgumentException>("ids", () => model.Forward(zeros([1, 3]))).Message);
        Assert.Contains("ids holds 37; expected 0 to 36",
            Assert.Throws<ArgumentOutOfRangeException>("ids", () => model.Forward(full([1, 3], 37, ScalarType.Int64))).Message);
        Assert.Throws<ArgumentException>("targets", () => model.Loss(Ids(1, 3), Ids(1, 4)));
        Assert.Throws<ArgumentOutOfRangeException>("batch", () => model.CreateCache(0));
        using var layout = SequenceLayout.Padded([2, 3], 3);
        using var context = new SequenceContext(layout);
        Assert.Contains("(2, 3)", Assert.Throws<ArgumentException>(() => model.Forward(Ids(1, 3), context)).Message);
        using var cache = model.CreateCache(2);
        Assert.Contains("2 rows", Assert.Throws<ArgumentException>(
            () => { using var wrong = new SequenceContext(cache: cache); model.Forward(Ids(1, 3), wrong); }).Message);
        Assert.Throws<ArgumentOutOfRangeException>("rows", () => cache.Select(0, 2));
    }
}
