using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Cuda.StateSpace;

/// <summary>Contains the options with which every kernel of the selective scan is compiled.</summary>
/// <param name="BFloat16">Whether activations are bfloat16; otherwise float32.</param>
/// <param name="Gated">Whether there is a gate.</param>
/// <param name="Softplus">Whether dt is a softplus.</param>
/// <param name="Documents">Whether documents begin within rows.</param>
readonly record struct SelectiveScanOptions(bool BFloat16, bool Gated, bool Softplus, bool Documents)
{
    /// <summary>Returns the kernels for a number of states, rounded up. <paramref name="first"/> selects the pass over single chunks.</summary>
    public KernelVariant Variant(int states, bool first) => new Scan(states, this, first);

    /// <summary>Returns the forward kernel for few channels. <paramref name="saves"/> says whether states are saved for backward.</summary>
    public KernelVariant FewChannels(bool saves) => new FewChannelsScan(this, saves);

    IEnumerable<(string Name, object Value)> Definitions =>
    [
        ("SCAN_TYPE", BFloat16 ? "bfloat16" : "float32"), ("SCAN_ELEMENT", BFloat16 ? "bfloat16" : "float"), ("SCAN_GATED", Gated ? 1 : 0),
        ("SCAN_SOFTPLUS", Softplus ? 1 : 0), ("SCAN_DOCUMENTS", Documents ? 1 : 0),
    ];

    sealed record Scan(int States, SelectiveScanOptions Options, bool First) : KernelVariant
    {
        public override string File => "SelectiveScan.cu";

        public override IEnumerable<(string Name, object Value)> Definitions =>
            [("SCAN_SHAPE", States), .. Options.Definitions, ("SCAN_KERNELS", First ? "SCAN_FIRST_OF" : "SCAN_OF")];
    }

    sealed record FewChannelsScan(SelectiveScanOptions Options, bool Saves) : KernelVariant
    {
        public override string File => "SelectiveScanFewChannels.cu";

        public override IEnumerable<(string Name, object Value)> Definitions => [.. Options.Definitions, ("SCAN_SAVES", Flag(Saves))];
    }
}
