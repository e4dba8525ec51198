using System.Text.Json.Nodes;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Compares checkpoints of one Mamba-2 layer with its recurrence in float64, as trained and as transformers computes it.</summary>
public sealed class PretrainedSemanticsTests : IDisposable
{
    const int VocabularySize = 13, Width = 12, Heads = 6, HeadSize = 4, Groups = 3, States = 5, Taps = 3;
    const int Inner = Heads * HeadSize, Channels = Inner + 2 * Groups * States;
    const double Tolerance = 2e-5;
    const string Layer = "backbone.layers.0.", Mixer = Layer + "mixer.";

    static readonly long[] ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6];

    readonly TemporaryFolder place = new();
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    public void Dispose()
    {
        scope.Dispose();
        place.Dispose();
    }

    static Dictionary<string, Tensor> Weights(bool smallSteps)
    {
        manual_seed(21);
        return new()
        {
            ["backbone.embeddings.weight"] = randn(VocabularySize, Width), ["backbone.norm_f.weight"] = rand(Width) + 0.5,
            ["lm_head.weight"] = randn(VocabularySize, Width) * 0.4,
            [Layer + "norm.weight"] = rand(Width) + 0.5, [Mixer + "in_proj.weight"] = randn(Inner + Channels + Heads, Width) * 0.4,
            [Mixer + "conv1d.weight"] = randn(Channels, 1, Taps) * 0.4, [Mixer + "conv1d.bias"] = randn(Channels) * 0.2,
            [Mixer + "dt_bias"] = smallSteps ? full(Heads, -8f) : rand(Heads) * 3 - 3, [Mixer + "A_log"] = rand(Heads),
            [Mixer + "D"] = rand(Heads) * 0.2,
            [Mixer + "norm.weight"] = rand(Inner) + 0.5, [Mixer + "out_proj.weight"] = randn(Width, Inner) * 0.3,
        };
    }

    // (length, vocabulary): the recurrence of arXiv 2405.21060, section 7, one token at a time
    static Tensor Reference(Dictionary<string, Tensor> stored, int normGroups, double minimum, double maximum = double.PositiveInfinity)
    {
        Tensor W(string name) => stored[name].to(ScalarType.Float64);
        static Tensor Norm(Tensor x, int groups)
        {
            var parts = x.view(groups, -1);
            return (parts / (parts.square().mean([1], keepdim: true) + 1e-5).sqrt()).view(-1);
        }
        static Tensor PerChannel(Tensor perHead) => perHead.repeat_interleave(HeadSize);
        var state = zeros([Inner, States], ScalarType.Float64);
        var window = zeros([Channels, Taps], ScalarType.Float64);
        var logits = new List<Tensor>();
        foreach (long id in ids)
        {
            var x = W("backbone.embeddings.weight")[id];
            var projected = W(Mixer + "in_proj.weight").mv(Norm(x, 1) * W(Layer + "norm.weight"));
            window = cat([window.narrow(1, 1, Taps - 1), projected.narrow(0, Inner, Channels).unsqueeze(1)], 1);
            var u = nn.functional.silu((window * W(Mixer + "conv1d.weight").squeeze(1)).sum(1) + W(Mixer + "conv1d.bias"));
            var dt = nn.functional.softplus(projected.narrow(0, Inner + Channels, Heads) + W(Mixer + "dt_bias")).clamp(minimum, maximum);
            var values = u.narrow(0, 0, Inner);
            Tensor Shared(int part) =>
                u.narrow(0, Inner + part * Groups * States, Groups * States).view(Groups, States).repeat_interleave(Inner / Groups, 0);
            state = PerChannel((W(Mixer + "A_log").exp().neg() * dt).exp()).unsqueeze(1) * state + (PerChannel(dt) * values).unsqueeze(1) * Shared(0);
            var y = ((state * Shared(1)).sum(1) + PerChannel(W(Mixer + "D")) * values) * nn.functional.silu(projected.narrow(0, 0, Inner));
            var output = x + W(Mixer + "out_proj.weight").mv(Norm(y, normGroups) * W(Mixer + "norm.weight"));
            logits.Add(W("lm_head.weight").mv(Norm(output, 1) * W("backbone.norm_f.weight")));
        }
        return stack(logits);
    }

    static double Distance(HybridLanguageModel model, Tensor expected)
    {
        using var noGrad = no_grad();
        return (model.Forward(tensor(ids).view(1, -1))[0].to(ScalarType.Float64) - expected).abs().max().item<double>();
    }

    string Folder(Dictionary<string, Tensor> weights, JsonObject config)
    {
        string folder = place[$"{config["model_type"]}"];
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), weights);
        return folder;
    }

    static JsonObject Mamba2Config() => new()
    {
        ["model_type"] = "mamba2", ["hidden_size"] = Width, ["vocab_size"] = VocabularySize, ["num_hidden_layers"] = 1, ["num_heads"] = Heads,
        ["head_dim"] = HeadSize, ["n_groups"] = Groups, ["state_size"] = States, ["conv_kernel"] = Taps, ["expand"] = 2,
        ["norm_before_gate"] = true, ["rms_norm"] = true, ["tie_word_embeddings"] = false,
    };

    static JsonObject NemotronConfig() => new()
    {
        ["model_type"] = "nemotron_h", ["hidden_size"] = Width, ["vocab_size"] = VocabularySize, ["hybrid_override_pattern"] = "M",
        ["mamba_num_heads"] = Heads, ["mamba_head_dim"] = HeadSize, ["n_groups"] = Groups, ["ssm_state_size"] = States, ["conv_kernel"] = Taps,
        ["time_step_min"] = 0.001, ["time_step_limit"] = new JsonArray(0.0, "Infinity"),
    };

    // the model that is loaded again from a save without options
    void IsKept(HybridLanguageModel model, string family, Tensor expected)
    {
        string target = place[$"{family} written {Guid.NewGuid():n}"];
        PretrainedModel.Save(model, target, family);
        using var again = PretrainedModel.Load(target);
        Assert.Equal(model.Design.Blocks, again.Design.Blocks);
        Assert.InRange(Distance(again, expected), 0, Tolerance);
    }

    [Fact]
    public void Mamba2_norms_each_group_unless_the_whole_width_is_requested_as_in_transformers()
    {
        var weights = Weights(smallSteps: false);
        string folder = Folder(weights, Mamba2Config());
        Tensor groups = Reference(weights, Groups, 0), whole = Reference(weights, 1, 0);
        Assert.True((groups - whole).abs().max().item<double>() > 0.05);
        using var trained = PretrainedModel.Load(folder);
        using var transformers = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
        Assert.InRange(Distance(trained, groups), 0, Tolerance);
        Assert.InRange(Distance(transformers, whole), 0, Tolerance);
        IsKept(trained, "mamba2", groups);
        IsKept(transformers, "mamba2", whole);
    }

    [Fact]
    public void Nemotron_clamps_time_steps_at_their_limit_unless_the_minimum_of_transformers_is_requested()
    {
        var weights = Weights(smallSteps: true);
        string folder = Folder(weights, NemotronConfig());
        Tensor free = Reference(weights, Groups, 0), floored = Reference(weights, Groups, 0.001);
        Assert.True((free - floored).abs().max().item<double>() > 1e-3);
        using var trained = PretrainedModel.Load(folder);
        using var transformers = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
        Assert.InRange(Distance(trained, free), 0, Tolerance);
        Assert.InRange(Distance(transformers, floored), 0, Tolerance);
        IsKept(trained, "nemotron_h", free);
        IsKept(transformers, "nemotron_h", floored);
    }

    [Theory]
    [InlineData("time_step_limit")]
    [InlineData("mamba_dt_limit")]
    public void A_limit_of_time_steps_counts_at_both_ends(string key)
    {
        var weights = Weights(smallSteps: false);
        var config = NemotronConfig();
        config.Remove("time_step_limit");
        config[key] = new JsonArray(0.05, 0.2);
        string folder = Folder(weights, config);
        var expected = Reference(weights, Groups, 0.05, 0.2);
        Assert.True((expected - Reference(weights, Groups, 0)).abs().max().item<double>() > 1e-3);
        using var model = PretrainedModel.Load(folder);
        Assert.InRange(Distance(model, expected), 0, Tolerance);
        IsKept(model, "nemotron_h", expected);
    }

    [Theory]
    [InlineData("bamba")]
    [InlineData("granite_moe")]
    [InlineData("mamba2")]
    public void Families_that_transformers_norms_over_the_whole_width_have_one_norm_of_each_group(string name)
    {
        string folder = Path.Combine(ConformanceTests.Folder, name);
        (int Groups, int Norms) Read(PretrainedLoadOptions? options)
        {
            var spec = PretrainedModel.LoadDesign(folder, options).Blocks.Select(block => block.Mixer).OfType<Mamba2Spec>().First();
            return (spec.Groups, spec.NormGroups);
        }
        Assert.Equal((2, 2), Read(null));
        Assert.Equal((2, 1), Read(ConformanceCase.AsRecorded));
        using var model = PretrainedModel.Load(folder, options: ConformanceCase.AsRecorded);
        string family = PretrainedConfig.Read(Path.Combine(folder, "config.json")).ModelType;
        PretrainedModel.Save(model, place["out"], family);
        Assert.Equal(model.Design.Blocks, PretrainedModel.LoadDesign(place["out"]).Blocks);
    }

    [Fact]
    public void A_design_norms_each_group_unless_it_says_otherwise()
    {
        // group_size = d_ssm // ngroups in mamba_ssm's Mamba2
        var spec = new Mamba2Spec { Heads = 4, HeadSize = 8, StateSize = 4, Groups = 2 };
        Assert.Equal(2, ((Mamba2Spec)spec.Resolve(16)).NormGroups);
        Assert.Equal(1, ((Mamba2Spec)(spec with { NormGroups = 1 }).Resolve(16)).NormGroups);
        Assert.Equal(1, ((Mamba2Spec)(spec with { Groups = 1 }).Resolve(16)).NormGroups);
        var built = HybridDesign.Create(32, 64).WithMamba2(stateSize: 4, headSize: 8, groups: 2).Depth(1).Pattern("M", 1).Build();
        Assert.Equal(2, Assert.IsType<Mamba2Spec>(built.Blocks[0].Mixer).NormGroups);
    }

    [Fact]
    public void A_gated_norm_of_another_number_of_groups_is_refused_when_read_and_when_written()
    {
        var config = Mamba2Config();
        config["gated_norm_groups"] = 2;
        string folder = Folder(Weights(smallSteps: false), config);
        string message = Assert.Throws<InvalidDataException>(() => PretrainedModel.LoadDesign(folder)).Message;
        Assert.Contains("gated_norm_groups is 2; expected 1, or the 3 groups", message);
        config.Remove("gated_norm_groups");
        var design = PretrainedModel.LoadDesign(Folder(Weights(smallSteps: false), config));
        var other = design with { Blocks = [design.Blocks[0] with { Mixer = (Mamba2Spec)design.Blocks[0].Mixer! with { NormGroups = 6 } }] };
        Assert.Contains("6 groups", Assert.Throws<ArgumentException>(() => PretrainedFamily.Find("mamba2")!.WriteConfig(other)).Message);
    }
}
