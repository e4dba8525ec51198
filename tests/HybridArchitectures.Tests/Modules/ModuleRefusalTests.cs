using System.Reflection;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Modules;

public class ModuleRefusalTests
{
    const int Width = 32;

    static readonly HybridDesign Example = HybridDesign.Create(Width, 17).WithAttention(4, 2).WithMamba2(16, 16).WithMamba1(64, 8).Pattern("TMm")
        .Build();

    static readonly AttentionSpec Heads = new() { Heads = 4, KeyValueHeads = 2, HeadSize = 8, ValueHeadSize = 8 };

    static readonly Dictionary<string, Func<ModuleFactory, object>> Modules = new()
    {
        ["attention"] = factory => new Attention(factory, Heads with { Window = 6 }),
        ["rotary attention"] = factory => new Attention(factory, Heads with { Rotary = new RotarySpec() }),
        ["Mamba-1"] = factory => new Mamba1(factory, Example.Blocks[2].Mixer as Mamba1Spec ?? throw new InvalidOperationException()),
        ["Mamba-2"] = factory => new Mamba2(factory, Example.Blocks[1].Mixer as Mamba2Spec ?? throw new InvalidOperationException()),
        ["gated delta"] = factory => new GatedDelta(factory, new GatedDeltaSpec { KeyHeads = 2, ValueHeads = 4, KeyHeadSize = 8, ValueHeadSize = 8 }),
        ["Kimi delta"] = factory => new KimiDelta(factory, (KimiDeltaSpec)new KimiDeltaSpec { Heads = 4 }.Resolve(Width)),
        ["lightning attention"] = factory => new LightningAttention(factory, new LightningAttentionSpec { Heads = 4, HeadSize = 8 }),
        ["RG-LRU"] = factory => new RgLru(factory, new RgLruSpec { Heads = 4, InnerWidth = 24 }),
        ["Mamba-3"] = factory => new Mamba3(factory, new Mamba3Spec { HeadSize = 8, StateSize = 12, InnerWidth = 24 }),
        ["RWKV-7"] = factory => new Rwkv7(factory, (Rwkv7Spec)new Rwkv7Spec { Heads = 4 }.Resolve(Width)),
        ["HGRN2"] = factory => new Hgrn2(factory, new Hgrn2Spec { Heads = 4, KeyHeadSize = 3, ValueHeadSize = 6 }),
        ["differential attention"] = factory => new DifferentialAttention(factory,
            new DifferentialAttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 4 }),
        ["gated linear attention"] = factory => new GatedLinearAttention(factory,
            new GatedLinearAttentionSpec { Heads = 4, KeyHeadSize = 3, ValueHeadSize = 6 }),
        ["latent attention"] = factory => new LatentAttention(factory,
            (LatentAttentionSpec)new LatentAttentionSpec { Heads = 4, KeyValueRank = 12, Rotary = new() }.Resolve(Width)),
        ["short convolution"] = factory => new ShortConvolution(factory, new ShortConvolutionSpec()),
        ["experts"] = factory => new MixtureOfExperts(factory, new MixtureOfExpertsSpec { Experts = 4, ExpertsPerToken = 2, ExpertWidth = 16 }),
        ["MLP"] = factory => new MlpFeedForward(factory, new MlpSpec(48)),
        ["SwiGLU"] = factory => new SwiGluFeedForward(factory, 48),
        ["linear"] = factory => new Linear(factory.Projection(8, Width)),
        ["norm"] = factory => new RootMeanSquareNorm(factory, Width, 1e-5),
        ["adapter"] = factory => new LowRankAdapter(factory, 8, Width, 2),
        ["block"] = factory => new Block(factory, Example.Blocks[0]),
    };

    public static TheoryData<string> Names => [.. Modules.Keys];

    static readonly Dictionary<string, Func<Tensor?>> Unfit = new()
    {
        ["null"] = () => null,
        ["scalar"] = () => tensor(1f),
        ["integers"] = () => ones([1, 3, Width], ScalarType.Int64),
        ["another width"] = () => zeros(1, 3, Width + 1),
        ["disposed"] = () =>
        {
            var tensor = zeros(1, 3, Width);
            tensor.Dispose();
            return tensor;
        },
        ["another device"] = () => zeros([1, 3, Width], device: new Device("meta")),
    };

    [Theory]
    [MemberData(nameof(Names))]
    public void Forward_refuses_unfit_input_by_name_and_serves_the_right_one_without_a_stack(string name)
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Example, CPU, 1);
        var module = Modules[name](factory);
        foreach (var (kind, make) in Unfit)
        {
            var error = Assert.ThrowsAny<ArgumentException>(() => Forward(module, make()));
            Assert.True(error.ParamName is { Length: > 0 }, $"{kind}: {error}");
            if (error is not ArgumentNullException) Assert.Matches(@"; expected .+\. \(Parameter '\w+'\)$", error.Message);
        }
        Assert.Equal(2, Forward(module, zeros(2, 3, Width)).size(0));
        ((IDisposable)module).Dispose();
    }

    static Tensor Forward(object module, Tensor? x)
    {
        var method = module.GetType().GetMethod("Forward", BindingFlags.Public | BindingFlags.Instance)!;
        using var context = new SequenceContext();
        object?[] arguments = method.GetParameters().Length switch { 1 => [x], 2 => [x, context], _ => [x, context, null] };
        try
        {
            return (Tensor)method.Invoke(module, arguments)!;
        }
        catch (TargetInvocationException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerException!);
            throw;
        }
    }

    public static TheoryData<Type> Types =>
        [.. typeof(Mixer).Assembly.GetExportedTypes()
            .Where(type => type.Namespace == typeof(Mixer).Namespace && !type.IsAbstract && type.GetConstructors().Any(NamesReference))];

    static bool NamesReference(ConstructorInfo constructor) => constructor.GetParameters().Any(IsReference);

    static bool IsReference(ParameterInfo parameter) =>
        !parameter.ParameterType.IsValueType && new NullabilityInfoContext().Create(parameter).WriteState == NullabilityState.NotNull;

    [Theory]
    [MemberData(nameof(Types))]
    public void Constructors_refuse_absent_arguments_by_name(Type type)
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Example, CPU, 1);
        foreach (var constructor in type.GetConstructors().Where(NamesReference))
        {
            var parameters = constructor.GetParameters();
            var absent = parameters.First(IsReference);
            var arguments = parameters.Select(parameter => parameter == absent ? null : Given(parameter, factory)).ToArray();
            var error = Assert.IsAssignableFrom<ArgumentException>(
                Assert.Throws<TargetInvocationException>(() => constructor.Invoke(arguments)).InnerException);
            Assert.Equal(absent.Name, error.ParamName);
        }
    }

    static object? Given(ParameterInfo parameter, ModuleFactory factory)
    {
        if (parameter.HasDefaultValue) return parameter.DefaultValue;
        var type = parameter.ParameterType;
        if (type == typeof(ModuleFactory)) return factory;
        if (type == typeof(int)) return 4;
        if (type == typeof(long)) return 4L;
        if (type == typeof(double)) return 1e-5;
        if (type == typeof(ScalarType)) return ScalarType.Float32;
        return type.IsValueType ? Activator.CreateInstance(type) : null;
    }

    [Fact]
    public void Numbers_that_name_no_type_are_refused_before_native_code_sees_them()
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Example, CPU, 1);
        var none = (ScalarType)(-3);
        Assert.Throws<ArgumentException>(() => Example.CreateModel(none));
        Assert.Throws<ArgumentException>(() => new HybridStack(factory, none));
        Assert.Throws<ArgumentException>(() => new KeyValueState(1, 2, 8, 8, none, CPU));
        Assert.Throws<ArgumentException>(() => new WindowState(1, 4, 0, 2, 8, 8, none, CPU));
        Assert.Throws<ArgumentException>(() => Example.CreateModel(device: new Device((TorchSharp.DeviceType)99)));
        foreach (var mixer in Modules.Values.Select(make => make(factory)).OfType<Mixer>())
        {
            Assert.Throws<ArgumentException>(() => mixer.CreateState(1, none, CPU));
            Assert.ThrowsAny<ArgumentException>(() => mixer.CreateState(0, ScalarType.Float32, CPU));
            Assert.Throws<ArgumentNullException>(() => mixer.CreateState(1, ScalarType.Float32, null!));
            mixer.Dispose();
        }
    }

    [Fact]
    public void Absent_arguments_are_named_as_the_caller_knows_them()
    {
        using var scope = NewDisposeScope();
        using var folder = new Checkpoints.TemporaryFolder();
        using var factory = new ModuleFactory(Example, CPU, 1);
        using var context = new SequenceContext();
        using var model = Example.CreateModel(seed: 1);
        using var generator = new HybridArchitectures.Generation.TextGenerator(model);
        var builder = HybridDesign.Create(Width, 17);
        var absent = new Dictionary<string, Action[]>
        {
            ["loss"] = [() => context.AddLoss(null!)],
            ["map"] = [() => factory.FromUniform(0, 1, null!, 2)],
            ["design"] = [() => CacheSize.FromDesign(null!, Example.Blocks[0], 8, 2)],
            ["block"] = [() => CacheSize.FromDesign(Example, null!, 8, 2)],
            ["of"] =
            [
                () => DesignSolver.ByDepth(Example, DesignMeasure.Parameters, null!),
                () => DesignSolver.ByFeedForward(Example, DesignMeasure.Parameters, null!),
            ],
            ["left"] = [() => CheckpointDiff.Compare(null!, "x")],
            ["right"] = [() => CheckpointDiff.Compare("x", null!)],
            ["text"] = [() => HybridArchitectures.Storage.AtomicWrite.Text(folder["text"], null!)],
            ["mamba1"] = [() => builder.WithMamba1(null!)],
            ["mamba2"] = [() => builder.WithMamba2(null!)],
            ["intraHybrid"] = [() => builder.WithIntraHybrid(null!)],
            ["prompt"] = [() => generator.Generate((string)null!), () => generator.StreamAsync((IReadOnlyList<int>)null!)],
        };
        foreach (var (name, calls) in absent)
            foreach (var call in calls) Assert.Equal(name, Assert.Throws<ArgumentNullException>(call).ParamName);
        Assert.Contains("no pass", Assert.Throws<InvalidOperationException>(() => context.RotaryTable(new RotarySpec(), 8)).Message);
    }

    [Fact]
    public void Numbers_without_a_meaning_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        using var factory = new ModuleFactory(Example, CPU, 1);
        using var state = new KeyValueState(1, 2, 8, 8, ScalarType.Float32, CPU);
        foreach (var (low, high) in new (double, double)[] { (double.NaN, 1), (0, double.NaN), (1, 0), (0, double.PositiveInfinity), (-1e300, 0) })
            Assert.Throws<ArgumentOutOfRangeException>(() => factory.Uniform(low, high, 2));
        Assert.Equal("length", Assert.Throws<ArgumentOutOfRangeException>(() => state.Trim(-1)).ParamName);
        Assert.Equal("rank", Assert.Throws<ArgumentOutOfRangeException>(() => new LowRankAdapter(factory, 8, 8, int.MaxValue)).ParamName);
        Assert.Equal("window", Assert.Throws<ArgumentOutOfRangeException>(
            () => new WindowState(1, int.MaxValue, 4, 2, 8, 8, ScalarType.Float32, CPU)).ParamName);
    }

    [Fact]
    public void Rows_of_length_0_have_logits_of_0_for_the_next_token_and_none_along_the_row()
    {
        using var scope = NewDisposeScope();
        using var model = Example.CreateModel(seed: 1);
        var none = zeros([2, 0], ScalarType.Int64);
        Assert.Equal([2, 17], model.NextLogits(none).shape);
        Assert.Equal(0, model.NextLogits(none).abs().max().item<float>());
        Assert.Equal([2, 0, 17], model.Forward(none).shape);
        using var context = new SequenceContext(cache: model.CreateCache(2));
        Assert.Equal([2, 17], model.NextLogits(none, context).shape);
        Assert.Equal([0, 17], model.Logits(zeros(0, Width)).shape);
        context.Cache!.Dispose();
    }

    [Theory]
    [InlineData("null")]
    [InlineData("scalar")]
    [InlineData("integers")]
    [InlineData("another width")]
    [InlineData("another device")]
    [InlineData("disposed")]
    public void Logits_refuse_unfit_vectors(string kind)
    {
        using var scope = NewDisposeScope();
        using var model = Example.CreateModel(seed: 1);
        Assert.Equal("hidden", Assert.ThrowsAny<ArgumentException>(() => model.Logits(Unfit[kind]()!)).ParamName);
    }
}
