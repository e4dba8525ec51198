using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class SequenceLayoutTests
{
    static string Text(Tensor? tensor) => tensor is null ? "none"
        : string.Join(" ", Enumerable.Range(0, (int)tensor.size(0)).Select(row => string.Concat(tensor[row].to(ScalarType.Int64).data<long>())));

    [Fact]
    public void Padded_rows_are_valid_up_to_their_length()
    {
        using var layout = SequenceLayout.Padded([3, 0, 5], 5);
        Assert.Equal("11100 00000 11111", Text(layout.Valid));
        Assert.Equal([3L, 0, 5], layout.RowLengths!);
        Assert.Equal([3L, 0, 5], layout.Lengths!.data<long>().ToArray());
        Assert.Null(layout.DocumentIds);
        Assert.Null(layout.Starts);
        Assert.Equal((3L, 5L), (layout.Batch, layout.Length));
    }

    [Fact]
    public void Full_rows_have_no_masks()
    {
        using var layout = SequenceLayout.Padded([4, 4], 4);
        Assert.Equal("none none none none", $"{Text(layout.Valid)} {Text(layout.Starts)} {Text(layout.Lengths)} {Text(layout.DocumentIds)}");
        Assert.Null(layout.RowLengths);
    }

    [Fact]
    public void Packed_rows_start_a_document_everywhere_but_in_column_0()
    {
        using var layout = SequenceLayout.Packed([[2, 0, 3, 1], [0, 4], []], 7);
        Assert.Equal("0022233 1111111 0000000", Text(layout.DocumentIds));
        Assert.Equal("0010010 0000000 0000000", Text(layout.Starts));
        Assert.Equal("1111110 1111000 0000000", Text(layout.Valid));
        Assert.Equal([6L, 4, 0], layout.RowLengths!);
    }

    [Fact]
    public void Document_ids_give_the_same_layout_as_lengths()
    {
        using var scope = NewDisposeScope();
        using var layout = SequenceLayout.FromDocumentIds(tensor(new long[] { 5, 5, 7, 7, 7, 9, 9, -1, -1, -1, -1, -1, -1, -1 }, [2, 7]), [6, 4]);
        Assert.Equal("0010010 0000000", Text(layout.Starts));
        Assert.Equal("1111110 1111000", Text(layout.Valid));
    }

    [Fact]
    public void Tensors_live_until_the_layout_is_disposed()
    {
        SequenceLayout layout;
        using (NewDisposeScope()) layout = SequenceLayout.Packed([[2, 1]], 4);
        Assert.Equal("0010", Text(layout.Starts));
        layout.Dispose();
        Assert.True(layout.Starts!.IsInvalid);
    }

    [Fact]
    public void Bad_lengths_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        Assert.Contains("row 1", Assert.Throws<ArgumentException>("rowLengths", () => SequenceLayout.Padded([1, 6], 5)).Message);
        Assert.Throws<ArgumentException>("rowLengths", () => SequenceLayout.Padded([-1], 5));
        Assert.Throws<ArgumentException>("rowLengths", () => SequenceLayout.Padded([], 5));
        Assert.Throws<ArgumentOutOfRangeException>("length", () => SequenceLayout.Padded([0], 0));
        Assert.Contains("row 0", Assert.Throws<ArgumentException>("documentLengths", () => SequenceLayout.Packed([[3, 3]], 5)).Message);
        Assert.Contains("documentLengths[0][1]",
            Assert.Throws<ArgumentException>("documentLengths", () => SequenceLayout.Packed([[3, -1]], 5)).Message);
        Assert.Contains("documentLengths[0][1]",
            Assert.Throws<ArgumentException>("documentLengths", () => SequenceLayout.Packed([[6, -1]], 5)).Message);
        Assert.Throws<ArgumentException>("documentIds", () => SequenceLayout.FromDocumentIds(zeros(2, 3)));
        Assert.Contains("row 0, column 2", Assert.Throws<ArgumentException>("documentIds",
            () => SequenceLayout.FromDocumentIds(tensor(new long[] { 1, 1, 0 }, [1, 3]))).Message);
        Assert.Throws<ArgumentException>("rowLengths", () => SequenceLayout.FromDocumentIds(zeros([2, 3], ScalarType.Int64), [1]));
    }
}
