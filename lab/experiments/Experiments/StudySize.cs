namespace HybridArchitectures.Experiments;

/// <summary>Contains the sizes of the models and of their training, which all experiments share.</summary>
sealed record StudySize
{
    /// <summary>Gets the width of the base size.</summary>
    public int Width { get; init; } = 256;

    /// <summary>Gets the number of blocks.</summary>
    public int Depth { get; init; } = 12;

    /// <summary>Gets the size of a head: attention, values, and state-space channels.</summary>
    public int HeadSize { get; init; } = 64;

    /// <summary>Gets the state size of Mamba-2 and the key size of delta nets.</summary>
    public int StateSize { get; init; } = 64;

    /// <summary>Gets the feed-forward width of the Mamba-2 stack, as a multiple of the width. Other designs are solved to its parameters.</summary>
    public double FeedForward { get; init; } = 2.5;

    /// <summary>Gets the context length of training in tokens.</summary>
    public int ContextLength { get; init; } = 1024;

    /// <summary>Gets the number of tokens per step.</summary>
    public int TokensPerStep { get; init; } = 16_384;

    /// <summary>Gets the number of steps on text.</summary>
    public int Steps { get; init; } = 1200;

    /// <summary>Gets the recall task and the length of its training.</summary>
    public RecallSetting Recall { get; init; } = new();

    /// <summary>Gets the number of visible tokens and of sinks of sliding-window attention.</summary>
    public (int Tokens, int Sinks) Window { get; init; } = (128, 16);

    /// <summary>Gets the widths of the scaling experiment. The first one is the base size.</summary>
    public IReadOnlyList<int> ScalingWidths { get; init; } = [256, 384, 512, 576];

    /// <summary>Gets the learning rates that are tried.</summary>
    public IReadOnlyList<double> LearningRates { get; init; } = [1e-3, 2e-3, 4e-3, 8e-3];

    /// <summary>Gets the number of held-out tokens that are measured.</summary>
    public int HeldOutTokens { get; init; } = 1 << 20;

    /// <summary>Gets the number of prompts per length and depth of the needle task.</summary>
    public int NeedleTrials { get; init; } = 4;

    /// <summary>Gets the lengths of the prompts of the needle task in tokens.</summary>
    public IReadOnlyList<int> NeedleLengths { get; init; } = [512, 1024, 1536, 2048];

    /// <summary>Gets the seeds.</summary>
    public IReadOnlyList<long> Seeds { get; init; } = [1, 2, 3];

    /// <summary>Gets a size that runs on a CPU in minutes, to check the whole chain. Its results mean nothing.</summary>
    public static StudySize Tiny { get; } = new()
    {
        Width = 32, HeadSize = 8, StateSize = 8, ContextLength = 64, TokensPerStep = 128, Steps = 3,
        Recall = new() { Length = 64, Pairs = 8, MinPairs = 2, Steps = 3, TokensPerStep = 128, TestRows = 4 },
        Window = (16, 2), ScalingWidths = [32, 40, 48, 64], LearningRates = [1e-3, 4e-3], HeldOutTokens = 512, NeedleTrials = 1,
        NeedleLengths = [160, 192], Seeds = [1, 2],
    };
}
