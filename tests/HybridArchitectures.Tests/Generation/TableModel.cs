using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>Represents a model whose next token depends only on the last one, by a fixed random table or a given one.</summary>
sealed class TableModel : LanguageModel
{
    readonly Tensor table;

    public TableModel(int vocabulary, int seed = 1) : this(RandomTable(vocabulary, seed)) { }

    public TableModel(Tensor table) : base(nameof(TableModel)) => this.table = table.DetachFromDisposeScope();

    public override int VocabularySize => (int)table.size(1);

    public override Device Device => CPU;

    public override ScalarType ComputeType => ScalarType.Float32;

    public override HybridCache CreateCache(int batch) => new([], new long[batch]);

    public override Tensor Forward(Tensor ids, SequenceContext? context = null)
    {
        context!.Begin(ids.size(0), ids.size(1), CPU);
        context.Cache!.Advance(context);
        return table.index_select(0, ids.reshape(-1)).view(ids.size(0), ids.size(1), -1);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing) table.Dispose();
        base.Dispose(disposing);
    }

    static Tensor RandomTable(int vocabulary, int seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn([vocabulary, vocabulary], generator: generator) * 2;
    }
}
