using CsCheck;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Review;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Design;

public class DesignPropertyTests
{
    static readonly int Programs = Effort.Choose(3_000, 20_000);

    // sizes that are mostly fine, sometimes not
    static readonly Gen<int> size =
        Gen.Frequency((60, Gen.OneOf(1, 2, 4, 8, 16)), (3, Gen.Int[0, 40]), (1, Gen.OneOf(-1, int.MinValue, int.MaxValue, 3, 7)));

    static readonly Gen<int> open = Gen.Frequency((8, Gen.Const(0)), (1, size));

    static readonly Gen<double> number = Gen.Frequency((60, Gen.Double[1e-6, 10]), (1, Gen.OneOf(0, -1, double.NaN, double.PositiveInfinity, 1e300)));

    static readonly Gen<RotarySpec?> rotary = Gen.OneOf(Gen.OneOf((RotarySpec?)null, new RotarySpec()),
        Gen.Select(number, Gen.OneOf(0.5, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0),
        (theta, fraction) => (RotarySpec?)new RotarySpec { Theta = theta, Fraction = fraction }));

    static readonly Gen<AttentionSpec> attention =
        Gen.Select(size, open, open, open, rotary, Gen.Bool, Gen.Bool, (heads, keyValueHeads, headSize, valueHeadSize, rotary, norm, bias) =>
        new AttentionSpec { Heads = heads, KeyValueHeads = keyValueHeads, HeadSize = headSize, ValueHeadSize = valueHeadSize, Rotary = rotary,
            QkNorm = norm, InputBias = bias });

    static readonly Gen<AttentionSpec> sliding =
        Gen.Select(attention, Gen.Int[1, 64], Gen.Int[-1, 8], (spec, window, sinks) => spec with { Window = window, Sinks = sinks });

    static readonly Gen<Mamba1Spec> mamba1 = Gen.Select(open, open, size, open, (inner, state, convolution, rank) =>
        new Mamba1Spec { InnerWidth = inner, StateSize = state, ConvolutionWidth = convolution, TimeStepRank = rank });

    static readonly Gen<Mamba2Spec> mamba2 = Gen.Select(open, open, open, size, Gen.Bool, number, (heads, headSize, state, groups, norm, limit) =>
        new Mamba2Spec { Heads = heads, HeadSize = headSize, StateSize = state, Groups = groups, GatedNorm = norm,
            TimeStepLimit = limit > 5 ? null : new(0, limit) });

    static readonly Gen<IntraHybridSpec> intra =
        Gen.Select(attention, Gen.OneOf(mamba1.Select(spec => (MixerSpec)spec), mamba2.Select(spec => (MixerSpec)spec)),
        Gen.Enum<FusionKind>(), Gen.Enum<BranchNorm>(), Gen.Bool, Gen.Enum<OutputProjection>(), Gen.Bool,
        (left, right, fusion, norm, scale, output, shared) =>
            new IntraHybridSpec { Attention = left, StateSpace = right, Fusion = fusion, Norm = norm, LearnedScale = scale, Output = output,
                SharedValues = shared });

    static readonly Gen<MixtureOfExpertsSpec> experts =
        Gen.Select(size, Gen.Int[0, 5], size, Gen.Int[0, 2], open, number, (count, perToken, width, shared, sharedWidth, loss) =>
        FeedForwardSpec.MixtureOfExperts(count, perToken, width, shared, sharedWidth, routerZLoss: loss));

    static readonly Gen<FeedForwardSpec> feedForward =
        Gen.OneOf(size.Select(width => (FeedForwardSpec)FeedForwardSpec.SwiGlu(width)), experts.Select(spec => (FeedForwardSpec)spec),
        Gen.Const(FeedForwardSpec.None));

    static readonly Gen<string> pattern = Gen.OneOf("T", "S", "M", "m", "H", "X", "-", "Me", "T~", "M~", "-e", "1", " ", "?").Array[0, 8]
        .Select(string.Concat);

    // one call of the builder
    static readonly Gen<Func<HybridDesignBuilder, HybridDesignBuilder>> call = Gen.Frequency<Func<HybridDesignBuilder, HybridDesignBuilder>>(
        (4, attention.Select(spec => Call(builder => builder.WithAttention(spec)))),
        (1, sliding.Select(spec => Call(builder => builder.WithSlidingWindow(spec)))),
        (1, mamba1.Select(spec => Call(builder => builder.WithMamba1(spec)))),
        (4, mamba2.Select(spec => Call(builder => builder.WithMamba2(spec)))),
        (2, intra.Select(spec => Call(builder => builder.WithIntraHybrid(spec)))),
        (1, Gen.Int[-1, 2].Select(by => Call(builder => builder.WithMixer(new ShiftSpec(by) { Scales = [by, 0.5] })))),
        (3, feedForward.Select(spec => Call(builder => builder.WithFeedForward(spec)))),
        (1, experts.Select(spec => Call(builder => builder.WithExperts(spec)))),
        (5, Gen.Int[0, 24].Select(depth => Call(builder => builder.Depth(depth)))),
        (4, Gen.Select(Gen.Int[0, 3], Gen.Int[-1, 12], (a, b) => Call(builder => builder.Ratio(a, b)))),
        (1, Gen.Select(Gen.OneOf("T", "M", "H", "S"), Gen.OneOf("M", "m", "X"), (a, b) => Call(builder => builder.Ratio(a, 1, b, 2)))),
        (2, Gen.Enum<Placement>().Select(placement => Call(builder => builder.Place(placement)))),
        (1, Gen.Int[0, 12].Array[0, 3].Select(positions => Call(builder => builder.Place(positions)))),
        (2, Gen.Select(pattern, Gen.Int[0, 3], (text, repeat) => Call(builder => builder.Pattern(text, repeat)))),
        (1, Gen.Select(Gen.Int[0, 6], feedForward,
        (position, spec) => Call(builder => builder.Override(position, block => block with { FeedForward = spec })))),
        (1, number.Select(epsilon => Call(builder => builder.NormEpsilon(epsilon)))),
        (1, Gen.Bool.Select(tied => Call(builder => builder.TiedHead(tied)))),
        (1, Gen.String[0, 12].Select(name => Call(builder => builder.Name(name)))));

    static Func<HybridDesignBuilder, HybridDesignBuilder> Call(Func<HybridDesignBuilder, HybridDesignBuilder> step) => step;

    // what most programs start with
    static readonly Gen<Func<HybridDesignBuilder, HybridDesignBuilder>> start = Gen.OneOf<Func<HybridDesignBuilder, HybridDesignBuilder>>(
        builder => builder,
        builder => builder.WithAttention(4, 2).WithMamba2(headSize: 16).WithFeedForward(FeedForwardSpec.SwiGlu(32)).Depth(6).Ratio(1, 2),
        builder => builder.WithAttention(2).WithSlidingWindow(8, 1).WithFeedForward(FeedForwardSpec.SwiGlu(32)).Depth(4).Place(2, 3),
        builder => builder.WithMamba1().WithMamba2(headSize: 8).WithAttention(2).WithMixer(new ShiftSpec(1)).Pattern("mMXT-", repeat: 2)
        .WithFeedForward(FeedForwardSpec.SwiGlu(8)),
        builder => builder.WithIntraHybrid(new() { Heads = 2 }, new Mamba2Spec { Heads = 2 }).Depth(3));

    // the design that a program builds, or null where it is refused; anything but a reasoned refusal fails the test
    static HybridDesign? Run(int width, int vocabulary, Func<HybridDesignBuilder, HybridDesignBuilder>[] calls)
    {
        try
        {
            return calls.Aggregate(HybridDesign.Create(width, vocabulary), (builder, step) => step(builder)).Build();
        }
        catch (ArgumentException refusal)
        {
            Assert.Contains("expected", refusal.Message);
            Assert.False(string.IsNullOrEmpty(refusal.ParamName), refusal.Message);
            return null;
        }
    }

    static readonly Gen<(int Width, int VocabularySize, Func<HybridDesignBuilder, HybridDesignBuilder>[] Calls)> program =
        Gen.Select(Gen.Frequency((8, Gen.OneOf(16, 32, 64, 128)), (1, size)), Gen.Frequency((8, Gen.Int[1, 1000]), (1, size)),
        Gen.Select(start, call.Array[0, 4], (first, rest) => rest.Prepend(first).ToArray()));

    public DesignPropertyTests() => MixerSpec.Register<ShiftSpec>("shift");

    [Fact]
    public void A_random_program_is_refused_with_a_reason_or_builds_a_design_that_holds_together()
    {
        int built = 0, refused = 0;
        program.Each(Programs, one =>
        {
            if (Run(one.Width, one.VocabularySize, one.Calls) is not { } design)
            {
                refused++;
                return;
            }
            built++;
            Assert.Equal(design, design.Resolve());                                 // nothing was left open
            var count = design.CountParameters();
            Assert.Equal(count.Total, count.ByPart.Values.Sum());
            Assert.True(count.Active <= count.Total && count.NonEmbedding > 0);
            var again = HybridDesign.FromJson(design.ToJson());
            Assert.Equal(design, again);
            Assert.Equal(design.GetHashCode(), again.GetHashCode());
            Assert.Empty(design.Diff(again));
            Assert.Equal(design.Depth, BlockPattern.Parse(design.Pattern).Count);
        });
        Assert.True(built > Programs / 5 && refused > Programs / 5, $"{built} built, {refused} refused: the programs no longer try both");
    }

    [Fact]
    public void A_random_program_that_builds_makes_a_model_whose_forward_backward_and_cost_agree()
    {
        int ran = 0, tooLarge = 0;
        Gen.Select(program, Gen.Int[1, 9]).Each(Effort.Choose(60, 20_000), sample =>
        {
            var (one, length) = sample;
            if (Run(one.Width, one.VocabularySize, one.Calls) is not { } design) return;
            var count = design.CountParameters();
            if (count.Total > 300_000 || design.Depth > 12)
            {
                tooLarge++;
                return;
            }
            using var scope = NewDisposeScope();
            using var model = design.CreateModel(seed: 1);
            Assert.Equal(count.Total, model.Parameters.Sum(parameter => parameter.Value.numel()));
            Assert.True(design.Cost(length).Flops().Forward > 0);
            var ids = arange(2 * length).remainder(Scalars.From(design.VocabularySize)).reshape(2, length);
            var loss = model.Loss(ids, ids);
            Assert.True(float.IsFinite(loss.Total.item<float>()), design.ToJson());
            Autograd.Backward(loss.Total);
            foreach (var (name, value, _) in model.Parameters)
                Assert.True(value.grad is null || value.grad.isfinite().all().item<bool>(), $"{name} of {design.ToJson()}");
            using var cache = model.CreateCache(2);
            using (var context = new SequenceContext(cache: cache)) model.Forward(ids, context);
            Assert.Equal(CacheSize.FromDesign(design, length, batch: 2, elementSize: 4).Total, cache.Bytes);
            ran++;
        });
        Assert.True(ran > tooLarge && ran > 10, $"{ran} models ran, {tooLarge} were too large to try");
    }

    [Fact]
    public void Every_cure_of_a_random_design_is_possible_as_its_text_says()
    {
        var options = new ReviewOptions { RecalledPairs = 9, TrainingLength = 64, MaxContextLength = 128 };
        var cured = new SortedDictionary<string, int>();
        program.Each(Programs, one =>
        {
            if (Run(one.Width, one.VocabularySize, one.Calls) is not { } design) return;
            foreach (var finding in design.Review(options))
            {
                if (finding.Remedy.Apply is not { } apply) continue;
                string what = $"{finding}\n{design.ToJson()}";
                var after = apply(design);
                Assert.True(Refusal(after) is null, $"{Refusal(after)} {what}");
                // a tied head may still be more than half of the parameters
                Assert.True(finding.Remedy.Change == ".TiedHead(true)" || !after.Review(options).Any(left => left.Rule == finding.Rule
                    && (left.Layers.Count + finding.Layers.Count == 0 || left.Layers.Intersect(finding.Layers).Any())), what);
                if (RemedyText.Apply(finding, design) is not { } asSaid) continue;
                Assert.True(asSaid.Blocks.Equals(after.Blocks), $"{asSaid.Pattern} {what}");
                cured[finding.Rule] = cured.GetValueOrDefault(finding.Rule) + 1;
            }
            Refusal(design.Review(options).Fixed());
        });
        Assert.True(cured.Count >= 10, $"only {string.Join(", ", cured)} were tried");
    }

    static string? Refusal(HybridDesign design)
    {
        try
        {
            design.Check();
            return null;
        }
        catch (ArgumentException refusal)
        {
            return refusal.Message;
        }
    }

    [Fact]
    public void Designs_are_equal_exactly_when_they_do_not_differ()
    {
        Gen.Select(program, program, Gen.Int[0, 5]).Each(1_000, sample =>
        {
            var (first, second, change) = sample;
            if (Run(first.Width, first.VocabularySize, first.Calls) is not { } left) return;
            var right = change switch
            {
                0 => left with { Blocks = [.. left.Blocks] },
                1 => left with { VocabularySize = left.VocabularySize + 1 },
                2 => left with { Blocks = [.. left.Blocks, left.Blocks[0]] },
                3 => left with { Blocks = left.Blocks.With(left.Depth / 2, left.Blocks[left.Depth / 2] with { NormEpsilon = 0.125 }) },
                4 => left with { Blocks = [.. left.Blocks.Reverse()] },
                _ => Run(first.Width, first.VocabularySize, second.Calls) ?? left,
            };
            Assert.Equal(left == right, left.Diff(right).Count == 0);
            Assert.Equal(left.Diff(right).Count, right.Diff(left).Count);
        });
    }

    [Fact]
    public void A_document_with_a_character_changed_is_read_or_refused_with_a_reason()
    {
        string json = Designs.Everything.ToJson();
        Gen.Select(Gen.Int[0, json.Length - 1],
            Gen.OneOf(Gen.Char, Gen.OneOf('"', '{', '}', '[', ']', ':', ',', '0', '9', '-', 'e', '\\', '\0'))).Array[1, 3].Each(3_000, changes =>
        {
            char[] text = json.ToCharArray();
            foreach (var (index, character) in changes) text[index] = character;
            try
            {
                HybridDesign.FromJson(new(text)).Check();
            }
            catch (ArgumentException refusal)
            {
                Assert.True(refusal.Message.Length > 10);
            }
        });
    }
}
